"""What a project should have: pure data. Widgets and the dashboard are found again by their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from voicespan.session_scores import COMPLETION, INTERRUPTION_RATE, RESPONSIVE_S, RESPONSIVENESS, TOOL_SUCCESS

View = Literal["observations", "scores-numeric"]
Chart = Literal["LINE_TIME_SERIES", "BAR_TIME_SERIES", "HORIZONTAL_BAR"]

FEEDBACK = "user_feedback"
DASHBOARD = "Voicespan"
ABOUT = "Voice calls: what callers wait for, what they cost, what their tools do, how they are scored."
COLUMNS = 12  # of Langfuse's grid; a tile is half of it wide
TILE = 6


@dataclass(frozen=True)
class ScoreConfig:
    """A number from 0 to 1."""

    name: str
    about: str


@dataclass(frozen=True)
class Filter:
    """Only what has one of these values in a column, or none of them. Tags are several to an observation."""

    column: str
    values: tuple[str, ...]
    operator: Literal["any of", "none of"] = "any of"

    @property
    def type(self) -> str:
        """Langfuse's name for the kind of column."""
        return "arrayOptions" if self.column == "tags" else "stringOptions"


@dataclass(frozen=True)
class Widget:
    """A chart of one measure, by one dimension where there is one."""

    name: str
    about: str
    view: View
    measure: str
    aggregation: str
    chart: Chart
    filters: tuple[Filter, ...]
    by: str | None = None


SCORE_CONFIGS = (
    ScoreConfig(RESPONSIVENESS, f"Share of a call's turns whose first audio came within {RESPONSIVE_S} s."),
    ScoreConfig(TOOL_SUCCESS, "Share of a call's tool calls that succeeded."),
    ScoreConfig(INTERRUPTION_RATE, "Share of a call's turns that the user talked over."),
    ScoreConfig(COMPLETION, "Share of a call's turns that the model finished; interrupted ones left out."),
    ScoreConfig(FEEDBACK, "What the user gave the call, by the feedback API: 1 is a thumb up."),
)

_CALLS = Filter("name", ("WebSocket Session",))
_TURNS = Filter("type", ("GENERATION",))
_TOOLS = Filter("type", ("TOOL",))
_PAID = Filter("tags", ("simulator",), "none of")

WIDGETS = (
    Widget(
        name="Voicespan: time to first audio, p95",
        about="Milliseconds from the end of the user's words.",
        view="observations",
        measure="timeToFirstToken",
        aggregation="p95",
        chart="LINE_TIME_SERIES",
        filters=(_TURNS,),
        by="providedModelName",
    ),
    Widget(
        name="Voicespan: calls",
        about="Calls that are over.",
        view="observations",
        measure="count",
        aggregation="count",
        chart="BAR_TIME_SERIES",
        filters=(_CALLS,),
    ),
    Widget(
        name="Voicespan: cost by model",
        about="US dollars at list price, without simulated calls.",
        view="observations",
        measure="totalCost",
        aggregation="sum",
        chart="BAR_TIME_SERIES",
        filters=(_TURNS, _PAID),
        by="providedModelName",
    ),
    Widget(
        name="Voicespan: tokens of a turn, p95",
        about="A context that grows is billed with every turn.",
        view="observations",
        measure="totalTokens",
        aggregation="p95",
        chart="LINE_TIME_SERIES",
        filters=(_TURNS,),
        by="providedModelName",
    ),
    Widget(
        name="Voicespan: tools, p95",
        about="Milliseconds that callers wait for a tool.",
        view="observations",
        measure="latency",
        aggregation="p95",
        chart="HORIZONTAL_BAR",
        filters=(_TOOLS,),
        by="name",
    ),
    Widget(
        name="Voicespan: tools that failed",
        about="Errors and timeouts.",
        view="observations",
        measure="count",
        aggregation="count",
        chart="BAR_TIME_SERIES",
        filters=(_TOOLS, Filter("level", ("ERROR",))),
        by="name",
    ),
    Widget(
        name="Voicespan: scores of calls",
        about="On average, each from 0 to 1.",
        view="scores-numeric",
        measure="value",
        aggregation="avg",
        chart="LINE_TIME_SERIES",
        filters=(Filter("name", tuple(each.name for each in SCORE_CONFIGS if each.name != FEEDBACK)),),
        by="name",
    ),
    Widget(
        name="Voicespan: feedback",
        about="What callers gave, on average.",
        view="scores-numeric",
        measure="value",
        aggregation="avg",
        chart="LINE_TIME_SERIES",
        filters=(Filter("name", (FEEDBACK,)),),
    ),
)
