"""What the simulator did, in its own terms, for whoever compares it with what was told of it (`--deeds FILE`).

One JSON line for each connection, written when it has ended. Times ending in `_ns` are wall-clock nanoseconds since
the epoch, offsets in seconds count audio received on the connection. Nothing here comes from the client's key, and a
resumption handle is never written down.
"""

import json
from dataclasses import asdict, dataclass, field
from io import TextIOWrapper
from pathlib import Path
from time import time_ns
from typing import Literal, Protocol

from voicespan_simulator.wire_json import JsonObject, JsonValue

_MOST_EXCHANGES = 1_000  # of one connection

How = Literal["spoken", "push_to_talk", "typed", "tool_response", "none"]
Interruption = Literal["speech", "text", "tool_response", "retracted"]


@dataclass(slots=True)
class UserDeed:
    """The user's words, as they came. `words` is the typed text, or the input transcript that was sent.

    `began_s` and `ended_s` are the sound's, `decided_s` is where the end was decided, by `decided_by`; `ended_ns` is
    when the sound's end was received, `decided_ns` when the decision was made or the client's mark came.
    """

    how: How
    words: str = ""
    pictures: int = 0
    began_s: float | None = None
    ended_s: float | None = None
    decided_s: float | None = None
    decided_by: Literal["detector", "activity_end", "audio_stream_end"] | None = None
    ended_ns: int | None = None
    decided_ns: int | None = None


@dataclass(slots=True)
class AnswerDeed:
    """A tool's response, as it came."""

    at_ns: int
    response: JsonValue
    scheduling: str
    will_continue: bool


@dataclass(slots=True)
class CallDeed:
    """A function call. Responses that came after it was cancelled are there too. `unnamed`: its id was not sent."""

    id: str
    name: str
    args: JsonObject
    called_ns: int
    blocking: bool
    unnamed: bool = False
    answers: list[AnswerDeed] = field(default_factory=list)
    cancelled_ns: int | None = None


@dataclass(slots=True)
class GenerationDeed:
    """One generation with an output; `complete_ns` is when generationComplete was sent, if it was."""

    begun_ns: int
    complete_ns: int | None = None


@dataclass(slots=True)
class InterruptedDeed:
    """`interrupted` was sent."""

    at_ns: int
    by: Interruption


@dataclass(slots=True)
class CompleteDeed:
    """turnComplete was sent; `usage` is the report as sent, with it or at `usage_ns`, or None where there was none."""

    at_ns: int
    status: str | None
    reason: str | None
    usage: JsonObject | None
    usage_ns: int | None


@dataclass(slots=True)
class TurnDeed:
    """What was sent up to a turnComplete that is not IN_PROGRESS, or up to the connection's end.

    Content is a thought, words, audio or a call; the empty messages ahead of it are none. `first_audio_ns` is when
    10 ms of audio had been sent. Between the `words` of two generations there is a space, which was not sent.
    `interrupted_late`: after it was complete.
    """

    first_content_ns: int | None = None
    first_audio_ns: int | None = None
    last_content_ns: int | None = None
    audio_ms: float = 0.0
    words: str = ""
    calls: list[CallDeed] = field(default_factory=list)
    generations: list[GenerationDeed] = field(default_factory=list)
    waiting_ns: int | None = None
    interrupted: InterruptedDeed | None = None
    interrupted_late: InterruptedDeed | None = None
    completes: list[CompleteDeed] = field(default_factory=list)


@dataclass(slots=True)
class ExchangeDeed:
    """The user's words and what came of them; `scenario_turn` is None where no turn of the scenario was taken."""

    user: UserDeed
    scenario_turn: int | None = None
    turns: list[TurnDeed] = field(default_factory=list)


@dataclass(slots=True)
class GoAwayDeed:
    """goAway was sent."""

    at_ns: int
    time_left_s: float


@dataclass(slots=True)
class ClosedDeed:
    """How the connection ended. `lost`: without a close frame of either side; then there is no code."""

    at_ns: int
    by: Literal["service", "client"]
    code: int | None
    reason: str
    lost: bool = False


@dataclass(slots=True)
class ConnectionDeed:
    """One connection from the upgrade to its end. `label` is what the client called it (`x-simulator-label`).

    `late_ms` is how late the simulator itself ran at worst while it lasted: what its times may be off by.
    """

    connection: int
    label: str
    dialect: str
    scenario: str
    opened_ns: int
    model: str = ""
    handle: Literal["none", "resumed", "refused"] = "none"
    dead: bool = False
    set_up_ns: int | None = None
    late_ms: float = 0.0
    audio_ms: float = 0.0
    go_away: GoAwayDeed | None = None
    strange_messages: int = 0
    closed: ClosedDeed | None = None
    exchanges: list[ExchangeDeed] = field(default_factory=list)
    exchanges_left_out: int = 0

    def add(self, exchange: ExchangeDeed) -> None:
        """An exchange begins; of very many the first ones are kept."""
        if len(self.exchanges) < _MOST_EXCHANGES:
            self.exchanges.append(exchange)
        else:
            self.exchanges_left_out += 1

    def close(self, by: Literal["service", "client"], code: int | None, reason: str, *, lost: bool = False) -> None:
        """It ended; the first to say how is right."""
        if self.closed is None:
            self.closed = ClosedDeed(time_ns(), by, code, reason, lost)


class Diary(Protocol):
    """Where deeds are kept, if they are `asked_for`."""

    asked_for: bool

    def write(self, connection: ConnectionDeed) -> None:
        """Keeps what was done on a connection that has ended."""


class NoDiary:
    """Nobody asked."""

    asked_for = False

    def write(self, connection: ConnectionDeed) -> None:
        """Forgets it."""


class DiaryFile:
    """A file of JSON lines, appended to. Raises OSError where it cannot be opened."""

    asked_for = True

    def __init__(self, path: Path) -> None:
        self._file: TextIOWrapper = path.open("a", encoding="utf-8")

    def write(self, connection: ConnectionDeed) -> None:
        """Writes a line, whole."""
        self._file.write(json.dumps(asdict(connection), separators=(",", ":")) + "\n")
        self._file.flush()
