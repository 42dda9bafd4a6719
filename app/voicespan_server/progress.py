"""A call's progress as the client is told of it; the numbers are those of the trace."""

from __future__ import annotations

from voicespan import operations as op
from voicespan_server.protocol import Message


def message_of(operation: op.Operation) -> Message | None:
    """What the client is told of an operation; None where that is nothing."""
    match operation:
        case op.StartTurn(index):
            return {"type": "turn.started", "turn": index}
        case op.EndTurn(record):
            return turn_completed(record)
        case op.StartTool(call_id, turn, _, name):
            return {"type": "tool.started", "id": call_id, "name": name, "turn": turn}
        case op.EndTool(call_id, _, outcome):
            return {"type": "tool.completed", "id": call_id, "status": outcome.value}
        case _:
            return None


def turn_completed(record: op.TurnRecord) -> Message:
    """A turn's end, with its tokens and times."""
    ttfa_s = record.time_to_first_audio_s
    usage = record.usage
    return {
        "type": "turn.completed",
        "turn": record.index,
        "reason": record.end_reason.value,
        "usage": {"input": usage.input_tokens, "output": usage.output_tokens} if usage else None,
        "metrics": {
            "time_to_first_audio_ms": None if ttfa_s is None else round(ttfa_s * 1000),
            "audio_ms": round(record.output_audio_s * 1000),
        },
    }
