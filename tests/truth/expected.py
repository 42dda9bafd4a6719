"""What telemetry has to say about a call, worked out from the simulator's deeds alone.

Nothing of the library is used here: this is a second, plain account of the same rules (design: the trace), made from
what the service did instead of from what the client saw.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from truth.driver import STALL_AFTER_S, TIMED_OUT
from voicespan_simulator.deeds import (
    AnswerDeed,
    CallDeed,
    CompleteDeed,
    ConnectionDeed,
    ExchangeDeed,
    TurnDeed,
    UserDeed,
)
from voicespan_simulator.profiles import Activity, profile_of
from voicespan_simulator.wire_json import JsonObject, JsonValue, pick, pick_list


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


def expected_of(connections: list[ConnectionDeed]) -> Expected:
    """What the spans of a call have to say."""
    turns: list[ExpectedTurn] = []
    for connection in connections:
        if connection.dead and connection.audio_ms:
            turns.append(_unheard(len(turns) + 1))
        for exchange in connection.exchanges:
            for number in range(_turns(connection, exchange)):
                turns.append(_turn(len(turns) + 1, connection, exchange, number, connection is connections[-1]))
    told = tuple(_connection(index, connections) for index in range(1, len(connections) + 1))
    last = connections[-1]
    ended_by_service = last.closed is not None and last.closed.by == "service"
    code = (last.closed.code or 1006) if last.closed and ended_by_service else 1000
    return Expected(
        turns=tuple(turns),
        connections=told,
        close_code=code,
        close_reason=_reason(last) if ended_by_service else "bye",
        close_initiator="provider" if ended_by_service else "client",
        error_type=f"live_{code}" if ended_by_service else None,
        provider="gcp.vertex_ai" if last.dialect == "vertex" else "gcp.gemini",
        model=last.model,
        input_audio_s=Around(sum(connection.audio_ms for connection in connections) / 1000, AUDIO_S),
        go_aways=sum(connection.go_away is not None for connection in connections),
        late_interruptions=tuple(
            turn.interrupted_late.by
            for connection in connections
            for exchange in connection.exchanges
            for turn in exchange.turns
            if turn.interrupted_late
        ),
        strange_messages=sum(connection.strange_messages for connection in connections),
        paths=sorted(_paths(turns, len(told))),
    )


def _paths(turns: list[ExpectedTurn], connections: int) -> list[str]:
    session = "WebSocket Session"
    found = [session, *(f"{session} / Live Connection {index}" for index in range(1, connections + 1))]
    for turn in turns:
        found.append(f"{session} / Turn {turn.index}")
        found += [f"{tool.parent} / tool-{tool.name}" for tool in turn.tools]
    return found


# --- turns ----------------------------------------------------------------------------------------------------------


def _turn(index: int, connection: ConnectionDeed, exchange: ExchangeDeed, number: int, last: bool) -> ExpectedTurn:
    deed = exchange.turns[number] if number < len(exchange.turns) else TurnDeed()
    first = number == 0
    reason, stall, error = _end(connection, exchange, number, deed)
    usage = [complete.usage for complete in deed.completes if complete.usage is not None]
    cause = deed.interrupted.by if deed.interrupted else None
    retracted = cause == "retracted"
    source, start_ns = _start(exchange.user, deed) if first else _start_after_tools(exchange.turns[number - 1])
    precedes = source != "model_initiated" and start_ns is not None
    first_audio: Around | None = None
    if deed.first_audio_ns is not None and precedes and start_ns is not None:
        first_audio = Around((deed.first_audio_ns - start_ns) / 1e9, CLOCK_S)
    endpointing = _endpointing(connection, exchange.user, deed) if first else None
    tool_s = _tool_time(deed) if first_audio else None
    return ExpectedTurn(
        index=index,
        end_reason=reason,
        cause=cause,
        stall_kind=stall,
        error_type=error,
        finish_reason=_finish_reason(deed.completes, reason, cause),
        generations=len(deed.generations),
        usage=_sum(map(_buckets, usage)) if usage else None,
        provider_total=sum(_count(report, "totalTokenCount") for report in usage) if usage else None,
        audio_s=Around(deed.audio_ms / 1000, AUDIO_S),
        heard=exchange.user.words.strip() if first else "",
        said=deed.words.strip(),
        start_source=NOT_SAID if retracted else source,
        start_s=NOT_SAID if retracted or start_ns is None else Around(start_ns / 1e9, CLOCK_S),
        end_s=_end_time(deed),
        first_audio_s=first_audio,
        endpointing_s=endpointing,
        tool_s=tool_s,
        model_s=_model_time(first_audio, endpointing, tool_s, exchange.user if first else None),
        heard_s=_heard(deed),
        tools=tuple(_tool(call, connection, index) for call in deed.calls),
    )


def _turns(connection: ConnectionDeed, exchange: ExchangeDeed) -> int:
    """How many turns an exchange comes to: one at least, and one that is due where a tool's answer was ignored."""
    turns = exchange.turns
    profile = profile_of(connection.model)
    halved = profile is not None and profile.shape.closes_tool_call
    if halved and turns and turns[-1].completes and not turns[-1].interrupted and _blocking_answers(turns[-1]):
        return len(turns) + 1
    return max(1, len(turns))


def _blocking_answers(deed: TurnDeed) -> list[AnswerDeed]:
    return [answer for call in deed.calls if call.blocking for answer in call.answers]


def _unheard(index: int) -> ExpectedTurn:
    """What the user said over a connection that was accepted and never said anything."""
    return ExpectedTurn(
        index=index,
        end_reason="stalled",
        cause=None,
        stall_kind="resumed_dead",
        error_type=None,
        finish_reason=NOT_SAID,
        generations=0,
        usage=None,
        provider_total=None,
        audio_s=Around(0.0, AUDIO_S),
        heard="",
        said="",
        start_source="acoustic",
        start_s=NOT_SAID,
        end_s=NOT_SAID,
        first_audio_s=None,
        endpointing_s=None,
        tool_s=None,
        model_s=None,
        heard_s=None,
        tools=(),
    )


def _end(
    connection: ConnectionDeed, exchange: ExchangeDeed, number: int, deed: TurnDeed
) -> tuple[str, str | None, str | None]:
    """A turn's end reason, the kind of its stall, and the error."""
    if deed.interrupted is not None:
        return ("cancelled" if deed.interrupted.by == "retracted" else "interrupted"), None, None
    final = next((complete for complete in deed.completes if complete.status != "IN_PROGRESS"), None)
    if final is not None:
        empty = deed.first_content_ns is None and deed.waiting_ns is None and final.reason is None
        return ("stalled", "empty_turn", None) if empty else ("completed", None, None)
    if deed.generations and deed.generations[-1].complete_ns is not None:
        return "completed", None, None  # all was said; only the end of playback was not waited for
    called = exchange.turns[number - 1] if number else deed
    if (kind := _stall(connection, exchange.user, deed, _blocking_answers(called))) is not None:
        return "stalled", kind, None
    closed = connection.closed
    if closed is None or closed.by == "client":
        return "session_closed", None, None
    if connection.go_away is not None:
        return "go_away", None, None
    return "error", None, f"close_{closed.code or 1006}"


def _stall(connection: ConnectionDeed, user: UserDeed, deed: TurnDeed, answers: list[AnswerDeed]) -> str | None:
    """What was due, and for how long the connection stayed without it; a call that is not answered owes nothing."""
    if len(answers) < len([call for call in deed.calls if call.blocking]):
        return None
    since_ns = max([deed.last_content_ns or 0, user.decided_ns or 0, *(answer.at_ns for answer in answers)])
    if connection.closed is None or connection.closed.at_ns - since_ns < STALL_AFTER_S * 1e9:
        return None
    if answers and (deed.last_content_ns or 0) < answers[-1].at_ns:
        return "tool_response_ignored"
    if deed.first_content_ns is not None:
        return "unfinished"
    return "no_generation" if user.how == "spoken" and user.words else "no_answer"


def _finish_reason(completes: list[CompleteDeed], reason: str, cause: str | None) -> str | NotSaid:
    if completes and completes[-1].reason:
        return completes[-1].reason.lower()
    return "stop" if reason == "completed" else "interrupted" if cause == "speech" else NOT_SAID


def _start(user: UserDeed, deed: TurnDeed) -> tuple[str, int | None]:
    """What the turn's start is taken from, and when it was."""
    match user.how, user.decided_by:
        case "push_to_talk", _:
            return "activity_end", user.decided_ns
        case "spoken", "audio_stream_end":
            return "audio_stream_end", user.decided_ns
        case "spoken", _:
            return "acoustic", user.ended_ns
        case "typed", _:
            return "client_content", user.decided_ns
        case "tool_response", _:
            return "tool_response", user.decided_ns
        case _:
            return "model_initiated", deed.first_content_ns


def _start_after_tools(former: TurnDeed) -> tuple[str, int | None]:
    """The answer that a service closes apart from its tool call begins with the last tool's response."""
    return "tool_response", max((call.answers[0].at_ns for call in former.calls if call.answers), default=None)


def _endpointing(connection: ConnectionDeed, user: UserDeed, deed: TurnDeed) -> Around | NotSaid | None:
    """From the end of the sound to the decision, where the service tells of it."""
    profile = profile_of(connection.model)
    if user.how != "spoken" or user.decided_by != "detector":
        return None
    if deed.first_content_ns is None or profile is None or user.ended_ns is None or user.decided_ns is None:
        return NOT_SAID
    if profile.shape.activity is Activity.NONE:
        return None
    return Around((user.decided_ns - user.ended_ns) / 1e9, CLOCK_S)


def _end_time(deed: TurnDeed) -> Around | NotSaid:
    """The end of the answer, whenever the turn was closed, or of the last tool; what has neither is not told here."""
    if deed.last_content_ns is None:
        return NOT_SAID
    complete_ns = deed.generations[-1].complete_ns if deed.generations else None
    end_ns = complete_ns or (deed.interrupted.at_ns if deed.interrupted else deed.last_content_ns)
    tools = [call for call in deed.calls if call.blocking]
    if any(not call.answers and call.cancelled_ns is None for call in tools):
        return NOT_SAID
    return Around(max([end_ns, *(_end_of(call) for call in tools)]) / 1e9, CLOCK_S)


def _end_of(call: CallDeed) -> int:
    in_time = [a.at_ns for a in call.answers if call.cancelled_ns is None or a.at_ns < call.cancelled_ns]
    return in_time[-1] if in_time else call.cancelled_ns or 0


def _model_time(
    first_audio: Around | None, endpointing: Around | NotSaid | None, tool: Around | None, user: UserDeed | None
) -> Around | NotSaid | None:
    """What is left of the time to first audio; where no decision about the speech was told, nobody can say."""
    if first_audio is None or tool is None:
        return None
    if isinstance(endpointing, NotSaid):
        return NOT_SAID
    if endpointing is None and user is not None and user.how == "spoken" and user.decided_by == "detector":
        return None
    return Around(first_audio.value - tool.value - (endpointing.value if endpointing else 0.0), CLOCK_S)


def _heard(deed: TurnDeed) -> Around | None:
    """How much of an answer that was cut had been played: all, or as long as it had been coming."""
    if deed.interrupted is None or deed.first_audio_ns is None:
        return None
    return Around(min(deed.audio_ms / 1000, (deed.interrupted.at_ns - deed.first_audio_ns) / 1e9), CLOCK_S)


def _tool_time(deed: TurnDeed) -> Around | NotSaid | None:
    """How long tools that block ran before the turn's first audio, those that ran together counted once."""
    first_audio_ns = deed.first_audio_ns or 0
    calls = [call for call in deed.calls if call.blocking and call.called_ns < first_audio_ns]
    if not calls:
        return Around(0.0, 0.0)
    ends = [call.answers[0].at_ns if call.answers else call.cancelled_ns or first_audio_ns for call in calls]
    return Around((max(ends) - min(call.called_ns for call in calls)) / 1e9, CLOCK_S)


# --- tools ----------------------------------------------------------------------------------------------------------


def _tool(call: CallDeed, connection: ConnectionDeed, turn: int) -> Tool:
    """A call that was taken back is cancelled unless it had been answered; one that nobody answered is orphaned."""
    in_time = [answer for answer in call.answers if call.cancelled_ns is None or answer.at_ns < call.cancelled_ns]
    final = next((answer for answer in in_time if not answer.will_continue), None)
    end_ns: int | None = None
    outcome, result = "orphaned", None
    if final is not None:
        end_ns, result = final.at_ns, final.response
        error = pick(result, "error")
        outcome = "ok" if error is None else "timeout" if error == TIMED_OUT else "error"
    elif call.cancelled_ns is not None:
        outcome, end_ns = "cancelled", call.cancelled_ns
    elif connection.closed is not None:
        end_ns = connection.closed.at_ns
    inside = "WebSocket Session" if not call.blocking else f"WebSocket Session / Turn {turn}"
    return Tool(
        id=call.id,
        name=call.name,
        args=call.args,
        outcome=outcome,
        result=result,
        responses=len(in_time),
        blocking=call.blocking,
        unnamed=call.unnamed,
        parent=inside,
        start_s=Around(call.called_ns / 1e9, CLOCK_S),
        end_s=NOT_SAID if end_ns is None else Around(end_ns / 1e9, CLOCK_S),
    )


# --- connections ----------------------------------------------------------------------------------------------------


def _connection(index: int, connections: list[ConnectionDeed]) -> Connection:
    """A connection's span tells how the one before it ended, or how it came to nothing itself."""
    this = connections[index - 1]
    refused = this.set_up_ns is None
    served = [connection for connection in connections[: index - 1] if connection.set_up_ns is not None]
    former = this if refused else served[-1] if served else None
    closed = former.closed if former else None
    code = (closed.code or 1006) if closed else None
    return Connection(
        index=index,
        resumed=this.handle != "none",
        close_code=code,
        close_reason=_reason(former) if former else None,
        close_initiator=None if closed is None else "provider" if closed.by == "service" else "server",
        error_type=f"close_{code}" if refused else None,
        gap_s=None if refused or closed is None else Around(((this.set_up_ns or 0) - closed.at_ns) / 1e9, CLOCK_S),
        go_away_s=served[-1].go_away.time_left_s if served and served[-1].go_away else None,
    )


def _reason(connection: ConnectionDeed) -> str | NotSaid:
    """A lost connection has no reason but the one that the client makes up."""
    closed = connection.closed
    return NOT_SAID if closed is None or closed.lost or closed.by == "client" else closed.reason


# --- usage ----------------------------------------------------------------------------------------------------------


def _buckets(report: JsonObject) -> dict[str, int]:
    """A report's tokens, each in one bucket: what no modality claims is `other`, thoughts are beside the total."""
    prompt = _modalities(report, "promptTokensDetails")
    stem = "response" if "responseTokenCount" in report else "candidates"
    response = _modalities(report, f"{stem}TokensDetails")
    found = {f"input_{name}": count for name, count in prompt.items()}
    found |= {f"output_{name}": count for name, count in response.items()}
    found["input_other"] = _count(report, "promptTokenCount") - sum(prompt.values())
    found["output_other"] = _count(report, f"{stem}TokenCount") - sum(response.values())
    found["output_reasoning"] = _count(report, "thoughtsTokenCount")
    return {name: count for name, count in found.items() if count}


def _modalities(report: JsonObject, key: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for item in pick_list(report, key):
        name, count = pick(item, "modality"), pick(item, "tokenCount")
        if isinstance(name, str) and isinstance(count, int):
            found[name.lower()] = found.get(name.lower(), 0) + count
    return found


def _count(report: JsonObject, key: str) -> int:
    value = report.get(key)
    return value if isinstance(value, int) else 0


def _sum(many: object) -> dict[str, int]:
    total: dict[str, int] = {}
    for buckets in many:
        for name, count in buckets.items():
            total[name] = total.get(name, 0) + count
    return total


def sum_of_usage(turns: tuple[ExpectedTurn, ...]) -> dict[str, int]:
    """What the turns were billed together."""
    return _sum(turn.usage for turn in turns if turn.usage is not None)
