"""What telemetry has to say about a call, worked out from the simulator's deeds alone.

Nothing of the library is used here: this is a second, plain account of the same rules (design: the trace), made from
what the service did instead of from what the client saw.
"""

from __future__ import annotations

from truth.billing import buckets, tokens_in, total_of
from truth.driver import STALL_AFTER_S, TIMED_OUT
from truth.expectation import (
    AUDIO_S,
    CLOCK_S,
    NOT_SAID,
    Around,
    Connection,
    Expected,
    ExpectedTurn,
    NotSaid,
    Tool,
)
from truth.timing import end_of, endpointing_of, heard_of, model_time, start_after_tools, start_of, tool_time
from voicespan_simulator.deeds import (
    AnswerDeed,
    CallDeed,
    ConnectionDeed,
    ExchangeDeed,
    TurnDeed,
    UserDeed,
)
from voicespan_simulator.profiles import profile_of
from voicespan_simulator.wire_json import pick


def expected_of(connections: list[ConnectionDeed]) -> Expected:
    """What the spans of a call have to say."""
    turns: list[ExpectedTurn] = []
    for connection in connections:
        if connection.dead and connection.audio_ms:
            turns.append(_unheard(len(turns) + 1))
        for exchange in connection.exchanges:
            for number in range(_turns(connection, exchange)):
                turns.append(_turn(len(turns) + 1, connection, exchange, number))
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


def _turn(index: int, connection: ConnectionDeed, exchange: ExchangeDeed, number: int) -> ExpectedTurn:
    deed = exchange.turns[number] if number < len(exchange.turns) else TurnDeed()
    first = number == 0
    reason, stall, error = _end(connection, exchange, number, deed)
    usage = [complete.usage for complete in deed.completes if complete.usage is not None]
    cause = deed.interrupted.by if deed.interrupted else None
    retracted = cause == "retracted"
    source, start_ns = start_of(exchange.user, deed) if first else start_after_tools(exchange.turns[number - 1])
    precedes = source != "model_initiated" and start_ns is not None
    first_audio: Around | None = None
    if deed.first_audio_ns is not None and precedes and start_ns is not None:
        first_audio = Around((deed.first_audio_ns - start_ns) / 1e9, CLOCK_S)
    endpointing = endpointing_of(connection, exchange.user, deed) if first else None
    tool_s = tool_time(deed) if first_audio else None
    return ExpectedTurn(
        index=index,
        end_reason=reason,
        cause=cause,
        stall_kind=stall,
        error_type=error,
        finish_reason=_finish_reason(deed, reason, cause),
        generations=len(deed.generations),
        usage=total_of(map(buckets, usage)) if usage else None,
        provider_total=sum(tokens_in(report, "totalTokenCount") for report in usage) if usage else None,
        audio_s=Around(deed.audio_ms / 1000, AUDIO_S),
        heard=exchange.user.words.strip() if first else "",
        said=deed.words.strip(),
        start_source=NOT_SAID if retracted else source,
        start_s=NOT_SAID if retracted or start_ns is None else Around(start_ns / 1e9, CLOCK_S),
        end_s=end_of(deed),
        first_audio_s=first_audio,
        endpointing_s=endpointing,
        tool_s=tool_s,
        model_s=model_time(first_audio, endpointing, tool_s, exchange.user if first else None),
        heard_s=heard_of(deed),
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


def _finish_reason(deed: TurnDeed, reason: str, cause: str | None) -> str | NotSaid:
    if deed.completes and deed.completes[-1].reason:
        return deed.completes[-1].reason.lower()
    if reason == "completed":
        return "stop" if deed.words or deed.audio_ms or not deed.calls else "tool_call"
    return "interrupted" if cause == "speech" else NOT_SAID


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
