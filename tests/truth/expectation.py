"""What is expected of a call: values, some of them with a tolerance, and one for what nobody can say."""

from __future__ import annotations

from dataclasses import dataclass, field

from truth.billing import total_of
from voicespan_simulator.wire_json import JsonObject, JsonValue


class _NotSaid:
    """The deeds do not tell."""

    def __repr__(self) -> str:
        return "(not said)"


NOT_SAID = _NotSaid()
NotSaid = _NotSaid


@dataclass(frozen=True)
class Around:
    """A number with a tolerance."""

    value: float
    tolerance: float

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int | float) and abs(other - self.value) <= self.tolerance

    __hash__ = None

    def __repr__(self) -> str:
        return f"{self.value:.3f} ± {self.tolerance:g}"


# Two processes look at the same message, one as it sends it and one as it reads it.
CLOCK_S = 0.030
# Sums of chunks in floating point, and milliseconds that were rounded.
AUDIO_S = 0.001


@dataclass(frozen=True)
class Tool:
    id: str
    name: str
    args: JsonObject
    outcome: str
    result: JsonValue
    responses: int
    blocking: bool
    unnamed: bool
    parent: str
    start_s: Around
    end_s: Around | NotSaid

    @property
    def error_type(self) -> str | None:
        return self.outcome if self.outcome in {"error", "timeout"} else None


@dataclass(frozen=True)
class ExpectedTurn:
    index: int
    end_reason: str
    cause: str | None
    stall_kind: str | None
    error_type: str | None
    finish_reason: str | NotSaid
    generations: int
    usage: dict[str, int] | None
    provider_total: int | None
    audio_s: Around
    heard: str | NotSaid
    said: str
    start_source: str | NotSaid
    start_s: Around | NotSaid
    end_s: Around | NotSaid
    first_audio_s: Around | NotSaid | None
    endpointing_s: Around | NotSaid | None
    tool_s: Around | None
    model_s: Around | NotSaid | None
    heard_s: Around | None
    tools: tuple[Tool, ...]


@dataclass(frozen=True)
class Connection:
    index: int
    resumed: bool
    close_code: int | None
    close_reason: str | NotSaid | None
    close_initiator: str | None
    error_type: str | None
    go_away_s: float | None
    gap_s: Around | None


@dataclass(frozen=True)
class Expected:
    """A call. `late_interruptions` came when their turns were complete."""

    turns: tuple[ExpectedTurn, ...]
    connections: tuple[Connection, ...]
    close_code: int
    close_reason: str | NotSaid
    close_initiator: str
    error_type: str | None
    provider: str
    model: str
    input_audio_s: Around
    go_aways: int
    late_interruptions: tuple[str, ...]
    strange_messages: int
    paths: list[str] = field(default_factory=list)

    @property
    def tools(self) -> list[Tool]:
        return [tool for turn in self.turns for tool in turn.tools]

    @property
    def usage(self) -> dict[str, int]:
        """What the turns were billed together."""
        return total_of(turn.usage for turn in self.turns if turn.usage is not None)
