"""What is due and does not come. Pure: see `lifecycle`."""

from __future__ import annotations

from voicespan.operations import StallKind, StartSource
from voicespan.turns import Turn, Words


def due_since(turn: Turn | None, words: Words) -> tuple[int, StallKind] | None:
    """Since when an answer has been due, and what its absence would be; None where the model owes none now.

    It owes none while a tool runs, when it said that it waits or works on, and when its answer was cut.
    """
    if turn is None:
        if words.expect_answer:
            transcribed = words.text and words.spoken
            return words.newest_ns, StallKind.NO_GENERATION if transcribed else StallKind.NO_ANSWER
        if words.tool_answer_due:
            return words.at_ns[StartSource.TOOL_RESPONSE], StallKind.TOOL_RESPONSE_IGNORED
        return None
    if turn.open_tools or turn.waiting or turn.in_progress or turn.stalled or turn.cause:
        return None
    if turn.awaits_output and turn.tool_response_ns is not None:
        return turn.tool_response_ns, StallKind.TOOL_RESPONSE_IGNORED
    if turn.generating:
        return max(turn.last_output_ns or turn.start_ns, turn.tools_end_ns), StallKind.UNFINISHED
    return None
