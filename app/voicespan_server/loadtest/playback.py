"""What a listener hears of audio that comes in pieces: the moments when the loudspeaker had nothing to play."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Playback:
    """A loudspeaker that starts with an answer's first piece and buffers what comes early. Times in seconds."""

    gaps: int = 0
    gap_s: float = 0.0
    plays_until: float = 0.0
    _playing: bool = False

    def piece(self, now: float, seconds: float) -> None:
        """Audio arrived."""
        if self._playing and now > self.plays_until:
            self.gaps += 1
            self.gap_s += now - self.plays_until
        self.plays_until = max(now, self.plays_until) + seconds
        self._playing = True

    def answer_over(self) -> None:
        """What comes next belongs to another answer: the silence before it is nobody's fault."""
        self._playing = False

    def interrupted(self, now: float) -> None:
        """What has not been played is dropped."""
        self.plays_until = min(self.plays_until, now)
        self._playing = False
