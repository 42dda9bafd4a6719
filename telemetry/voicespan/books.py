"""The turns that are over and not yet told, because something of theirs may still come. See `lifecycle`."""

from __future__ import annotations

from voicespan import operations as op
from voicespan.operations import InterruptionCause
from voicespan.turns import Turn

# How long a turn's books stay open after TurnComplete for what did not come with it.
GRACE_NS = 500_000_000
_BY_THE_USER = {InterruptionCause.SPEECH, InterruptionCause.TEXT}


class Books:
    """Turns whose books are open, oldest first, and the totals of those whose books are closed."""

    __slots__ = ("hears", "open", "reports_playback", "totals", "transcribes")

    def __init__(self) -> None:
        self.totals = op.SessionTotals()
        self.open: list[Turn] = []
        # Whether the client says what it plays: then an answer that was cut waits for how much of it was heard.
        self.reports_playback = False
        # Whether the user's words come as well: then a turn that answers speech without any waits for them.
        self.hears = False
        # Whether the model's words come as well: then a turn that spoke without any waits for them.
        self.transcribes = False

    @property
    def deadline_ns(self) -> int | None:
        """When the first of them is told, come what may."""
        return min((turn.deadline_ns for turn in self.open if turn.deadline_ns is not None), default=None)

    def waiting_for_usage(self) -> Turn | None:
        """The oldest that the provider has reported nothing for."""
        return next((turn for turn in self.open if turn.deadline_ns is not None and turn.owes_usage), None)

    def waiting_for_words(self) -> Turn | None:
        """The newest that said something, whose transcript may still come."""
        waiting = (turn for turn in reversed(self.open) if turn.deadline_ns is not None)
        return next((turn for turn in waiting if turn.answer.audio_s and not turn.cause), None)

    def waiting_for_question(self) -> Turn | None:
        """The newest that answers speech whose transcript may still come."""
        return next((turn for turn in reversed(self.open) if turn.words.lacking), None)

    def add(self, turn: Turn, now: int) -> list[op.Operation]:
        """No more output will come for it: close its books, or wait for what is owed."""
        self.open.append(turn)
        if not self._owes(turn):
            return self.close(turn, now)
        turn.deadline_ns = now + GRACE_NS
        return []

    def settle(self, turn: Turn, now: int) -> list[op.Operation]:
        """Something came for a turn: close its books if it was the last."""
        return self.close(turn, now) if turn in self.open and not self._owes(turn) else []

    def tool_ended(self, turn: Turn, now: int) -> list[op.Operation]:
        """Its books were kept open by its tools alone."""
        return self.close(turn, now) if turn in self.open and turn.deadline_ns is None else []

    def expire(self, now: int) -> list[op.Operation]:
        """Wait no longer for what should have come by now."""
        late = [turn for turn in self.open if turn.deadline_ns is not None and turn.deadline_ns <= now]
        return [operation for turn in late for operation in self.close(turn, now)]

    def close(self, turn: Turn, now: int) -> list[op.Operation]:
        """Tell it; but children lie inside their parents, so the last tool to end closes the turn."""
        turn.deadline_ns = None
        if turn.open_tools:
            return []
        self.open.remove(turn)
        turn.book_report()
        record = turn.record(now)
        totals = self.totals
        if (first_audio_s := record.time_to_first_audio_s) is not None:
            totals.answered(first_audio_s)
        totals.generations += turn.generations
        totals.output_audio_s += turn.answer.audio_s
        if turn.usage is None:
            totals.turns_without_usage += 1
        else:
            totals.usage += turn.usage
        return [op.EndTurn(record)]

    def _owes(self, turn: Turn) -> bool:
        cut = turn.cause in _BY_THE_USER
        spoke = turn.answer.audio_s > 0
        unheard = cut and self.reports_playback and spoke and turn.answer.played_s is None
        wordless = spoke and not turn.model_text and not turn.cause and self.transcribes
        unasked = spoke and turn.words.spoken and not turn.words.text and not turn.cause and self.hears
        return (turn.owes_usage and not turn.stalled) or unheard or wordless or unasked
