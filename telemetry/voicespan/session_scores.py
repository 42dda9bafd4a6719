"""Scores of a session: shares from 0 to 1 that Langfuse can chart and filter by. docs/langfuse.md explains them.

A share of nothing is no score: a session without tools has no tool success, neither 0 nor 1.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from voicespan.events import ToolOutcome
from voicespan.operations import EndReason, EndTool, EndTurn, InterruptionCause, Operation

# A choice of ours, not a standard: where a pause begins to be felt as one. In seconds.
RESPONSIVE_S = 1.5

RESPONSIVENESS = "responsiveness"
TOOL_SUCCESS = "tool_success"
INTERRUPTION_RATE = "interruption_rate"
COMPLETION = "completion"


@dataclass(frozen=True, slots=True)
class Score:
    """A number about a session; `comment` says what it was made of."""

    name: str
    value: float
    comment: str | None = None

    def id(self, session_id: str) -> str:
        """Stable: sent again on the same day, a score replaces the one that Langfuse has under its id."""
        return f"{session_id}-{self.name}"

    def body(self, session_id: str, at_ns: int, environment: str | None = None) -> dict[str, str | float]:
        """As `POST /api/public/scores` takes it in its list, but for the id."""
        found: dict[str, str | float | None] = {
            "sessionId": session_id,
            "name": self.name,
            "value": self.value,
            "dataType": "NUMERIC",
            "comment": self.comment,
            "timestamp": _iso(at_ns),
            "environment": environment,
        }
        return {key: value for key, value in found.items() if value is not None}


@dataclass(slots=True)
class Outcomes:
    """How the turns and tools of a session ended, counted from its operations."""

    turns: int = 0
    barge_ins: int = 0
    measured: int = 0
    responsive: int = 0
    ended: Counter[EndReason] = field(default_factory=Counter)
    tools: Counter[ToolOutcome] = field(default_factory=Counter)

    def count(self, operation: Operation) -> None:
        """Take an operation in; most are of no interest."""
        match operation:
            case EndTurn(record):
                if record.interruption_cause is InterruptionCause.RETRACTED:
                    return  # the user's words were taken back: nobody was owed an answer
                self.turns += 1
                self.ended[record.end_reason] += 1
                self.barge_ins += record.interruption_cause is InterruptionCause.SPEECH
                if (waited_s := record.time_to_first_audio_s) is not None:
                    self.measured += 1
                    self.responsive += waited_s <= RESPONSIVE_S
            case EndTool(outcome=outcome):
                self.tools[outcome] += 1


def session_scores(outcomes: Outcomes) -> Sequence[Score]:
    """The scores that a session's outcomes give, in a fixed order."""
    ran = sum(outcomes.tools[each] for each in (ToolOutcome.OK, ToolOutcome.ERROR, ToolOutcome.TIMEOUT))
    # A turn that the user cut short was not left unfinished by the service.
    owed = outcomes.turns - outcomes.ended[EndReason.INTERRUPTED]
    parts = (
        (RESPONSIVENESS, outcomes.responsive, outcomes.measured, f"turns with first audio within {RESPONSIVE_S:g} s"),
        (TOOL_SUCCESS, outcomes.tools[ToolOutcome.OK], ran, "tool calls that ran and succeeded"),
        (INTERRUPTION_RATE, outcomes.barge_ins, outcomes.turns, "turns that the user talked over"),
        (COMPLETION, outcomes.ended[EndReason.COMPLETED], owed, "turns, but for interrupted ones, that were finished"),
    )
    return [Score(name, part / whole, f"{part} of {whole} {of}") for name, part, whole, of in parts if whole]


def score_environment(name: str | None) -> str | None:
    """The environment of a program as Langfuse files its spans under it; None where it files them under `default`.

    A score with an environment that Langfuse does not take would be refused.
    """
    lower = (name or "").lower()
    return lower if re.fullmatch(r"(?!langfuse)[a-z0-9_-]{1,40}", lower) else None


def _iso(at_ns: int) -> str:
    at = datetime.fromtimestamp(at_ns // 1_000_000_000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ns % 1_000_000_000 // 1_000_000:03d}Z"
