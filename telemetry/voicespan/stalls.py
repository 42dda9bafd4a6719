"""What is due and does not come, and where to listen because nothing comes. Pure: see `lifecycle`."""

from __future__ import annotations

from voicespan.connections import Connections
from voicespan.operations import StallKind, StartSource
from voicespan.turns import Turn, Words

# Answers begin within one to three seconds, with a tool's or a thought's help within some more.
STALL_AFTER_S = 10.0
# Well within the audio that is kept for the search of speech's end.
LISTEN_EVERY_NS = 2_000_000_000


class Watchdog:
    """Knows how long an answer may be due; with `after_s` None it never barks.

    `free_ns` is when the model was done with the former turn.
    """

    __slots__ = ("after_ns", "free_ns", "listened_ns")

    def __init__(self, after_s: float | None) -> None:
        self.after_ns = None if after_s is None else round(after_s * 1e9)
        self.listened_ns = 0
        self.free_ns = 0

    def stall(self, turn: Turn | None, words: Words, connections: Connections) -> tuple[int, StallKind] | None:
        """When what is due now will have been due for too long, and what it would be; None where nothing is."""
        if self.after_ns is None or connections.down or (due := due_since(turn, words)) is None:
            return None
        since, kind = due
        if connections.resumed and connections.silent_since_ns is not None:
            kind = StallKind.RESUMED_DEAD
        # What was said while there was no connection is due from when there is one, and what was said while the model
        # was at another answer from when it was done with that.
        return max(since, connections.connected_ns, 0 if turn else self.free_ns) + self.after_ns, kind

    def listens_from_ns(self, turn: Turn | None, words: Words, connections: Connections) -> int | None:
        """When to look for speech in the audio that was sent, though the provider tells of none.

        Only over a connection on which the provider has not said a word: it may be dead, or deaf, and then nothing else
        tells of the user's words. None where there is no such need: a session that is idle is left in peace.
        """
        silent_ns = connections.silent_since_ns
        if silent_ns is None or self.after_ns is None or words.expect_answer or turn:
            return None
        return max(silent_ns, self.listened_ns) + min(LISTEN_EVERY_NS, self.after_ns)


def due_since(turn: Turn | None, words: Words) -> tuple[int, StallKind] | None:
    """Since when an answer has been due, and what its absence would be; None where the model owes none now.

    It owes none while a tool runs, when it said that it waits or works on, and when its answer was cut.
    """
    if turn is None:
        if words.expect_answer:
            transcribed = words.text and words.spoken
            return words.newest_ns, StallKind.NO_GENERATION if transcribed else StallKind.NO_ANSWER
        responded_ns = words.at_ns.get(StartSource.TOOL_RESPONSE)  # none any more where the user spoke since
        if words.tool_answer_due and responded_ns is not None:
            return responded_ns, StallKind.TOOL_RESPONSE_IGNORED
        return None
    if turn.open_tools or turn.waiting or turn.in_progress or turn.stalled or turn.cause:
        return None
    if turn.awaits_output and turn.tool_response_ns is not None:
        # A call that answered in part and was then taken back kept the model from its answer until then.
        return max(turn.tool_response_ns, turn.tools_end_ns), StallKind.TOOL_RESPONSE_IGNORED
    if turn.generating:
        return max(turn.last_output_ns or turn.start_ns, turn.tools_end_ns), StallKind.UNFINISHED
    return None
