"""When things were, and how long they took: from the deeds' clock."""

from __future__ import annotations

from truth.expectation import CLOCK_S, NOT_SAID, Around, NotSaid
from voicespan_simulator.deeds import CallDeed, ConnectionDeed, TurnDeed, UserDeed
from voicespan_simulator.profiles import Activity, profile_of


def start_of(user: UserDeed, deed: TurnDeed) -> tuple[str, int | None]:
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


def start_after_tools(former: TurnDeed) -> tuple[str, int | None]:
    """The answer that a service closes apart from its tool call begins with the last tool's response."""
    return "tool_response", max((call.answers[0].at_ns for call in former.calls if call.answers), default=None)


def endpointing_of(connection: ConnectionDeed, user: UserDeed, deed: TurnDeed) -> Around | NotSaid | None:
    """From the end of the sound to the decision, where the service tells of it."""
    profile = profile_of(connection.model)
    if user.how != "spoken" or user.decided_by != "detector":
        return None
    if deed.first_content_ns is None or profile is None or user.ended_ns is None or user.decided_ns is None:
        return NOT_SAID
    if profile.shape.activity is Activity.NONE:
        return None
    return Around((user.decided_ns - user.ended_ns) / 1e9, CLOCK_S)


def end_of(deed: TurnDeed) -> Around | NotSaid:
    """The end of the answer, whenever the turn was closed, or of the last tool; what has neither is not told here."""
    if deed.last_content_ns is None:
        return NOT_SAID
    complete_ns = deed.generations[-1].complete_ns if deed.generations else None
    end_ns = complete_ns or (deed.interrupted.at_ns if deed.interrupted else deed.last_content_ns)
    tools = [call for call in deed.calls if call.blocking]
    if any(not call.answers and call.cancelled_ns is None for call in tools):
        return NOT_SAID
    return Around(max([end_ns, *(_end_of_call(call) for call in tools)]) / 1e9, CLOCK_S)


def _end_of_call(call: CallDeed) -> int:
    in_time = [a.at_ns for a in call.answers if call.cancelled_ns is None or a.at_ns < call.cancelled_ns]
    return in_time[-1] if in_time else call.cancelled_ns or 0


def model_time(
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


def heard_of(deed: TurnDeed) -> Around | None:
    """How much of an answer that was cut had been played: all, or as long as it had been coming."""
    if deed.interrupted is None or deed.first_audio_ns is None:
        return None
    return Around(min(deed.audio_ms / 1000, (deed.interrupted.at_ns - deed.first_audio_ns) / 1e9), CLOCK_S)


def tool_time(deed: TurnDeed) -> Around | NotSaid | None:
    """How long tools that block ran before the turn's first audio, those that ran together counted once."""
    first_audio_ns = deed.first_audio_ns or 0
    calls = [call for call in deed.calls if call.blocking and call.called_ns < first_audio_ns]
    if not calls:
        return Around(0.0, 0.0)
    ends = [call.answers[0].at_ns if call.answers else call.cancelled_ns or first_audio_ns for call in calls]
    return Around((max(ends) - min(call.called_ns for call in calls)) / 1e9, CLOCK_S)
