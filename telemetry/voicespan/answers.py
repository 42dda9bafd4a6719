"""The sound of one answer: when it came, when it could be heard, and how much of it was. See `turns`."""

from __future__ import annotations

from dataclasses import dataclass

from voicespan import events as ev
from voicespan import operations as op

# Less than this has not been heard: Gemini 3.x may send a single sample ahead of the answer.
AUDIBLE_S = 0.010


@dataclass(slots=True)
class Answer:
    """What arrived of a turn's voice, and what the client said of playing it.

    Without a word from the client it is taken to play from the first audio on, without a pause: providers send an
    answer several times faster than it is spoken.
    """

    audio_s: float = 0.0
    first_ns: int | None = None
    audible_ns: int | None = None
    playback_ns: int | None = None
    stopped_ns: int | None = None
    played_s: float | None = None
    # When the user began to talk over it.
    talked_over_ns: int | None = None
    _began_ns: int = 0

    def add(self, event: ev.ModelAudio, now: int) -> bool:
        """A chunk came; True where with it there is enough to be called the first audio."""
        if not self.audio_s:
            self._began_ns = now
        if self.audible_ns is None and event.leading_silence_s < event.duration_s:
            # It sounds once it has come and what is ahead of it has been played.
            before_ns = max(now, self._began_ns + round(self.audio_s * 1e9))
            self.audible_ns = before_ns + round(event.leading_silence_s * 1e9)
        self.audio_s += event.duration_s
        if self.first_ns is not None or self.audio_s < AUDIBLE_S:
            return False
        self.first_ns = now
        self.audible_ns = max(self.audible_ns, now) if self.audible_ns is not None else None
        return True

    def heard(self, interrupted_ns: int | None) -> op.HeardAudio | None:
        """How much of an interrupted answer the user heard; None where it was not interrupted, or said nothing."""
        if interrupted_ns is None or self.first_ns is None:
            return None
        if self.played_s is not None:
            return op.HeardAudio(min(self.audio_s, self.played_s), reported=True)
        since_s = (interrupted_ns - (self.playback_ns or self.first_ns)) / 1e9
        return op.HeardAudio(min(self.audio_s, max(0.0, since_s)), reported=False)

    def silenced_s(self) -> float | None:
        """From the user's talking over it to the silence that the client reported."""
        if self.stopped_ns is None or self.talked_over_ns is None or self.stopped_ns < self.talked_over_ns:
            return None
        return (self.stopped_ns - self.talked_over_ns) / 1e9

    def transport_s(self) -> float | None:
        """From the first audio's arrival to its playback, as the client reported it."""
        if self.playback_ns is None or self.first_ns is None:
            return None
        return max(0, self.playback_ns - self.first_ns) / 1e9
