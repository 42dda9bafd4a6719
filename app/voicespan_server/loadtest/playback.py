"""What a listener hears of audio that comes in pieces: the moments when the loudspeaker had nothing to play."""

from __future__ import annotations

from dataclasses import dataclass

# What a client holds back before it begins to play, so that a piece may come late. The service's first piece can be
# a single sample, with the next one some 50 ms behind.
HELD_BACK_S = 0.1


@dataclass(slots=True)
class Playback:
    """A loudspeaker that starts a little after an answer's first piece and buffers what comes early. Seconds."""

    gaps: int = 0
    gap_s: float = 0.0
    plays_until: float = 0.0
    _playing: bool = False

    def piece(self, now: float, seconds: float) -> None:
        """Audio arrived."""
        if not self._playing:
            self.plays_until = max(now + HELD_BACK_S, self.plays_until)
            self._playing = True
        elif now > self.plays_until:
            self.gaps += 1
            self.gap_s += now - self.plays_until
        self.plays_until = max(now, self.plays_until) + seconds

    def answer_over(self) -> None:
        """What comes next belongs to another answer: the silence before it is nobody's fault."""
        self._playing = False

    def interrupted(self, now: float) -> None:
        """What has not been played is dropped."""
        self.plays_until = min(self.plays_until, now)
        self._playing = False
