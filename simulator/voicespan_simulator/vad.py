"""Where speech begins and ends in a stream of PCM16: energy with hysteresis over a floor that follows the room.

Offsets are in audio received, as the service's are: however fast the audio comes, the decisions are the same.
"""

from array import array
from dataclasses import dataclass
from sys import byteorder

BLOCK_S = 0.01
START_S = 0.18  # of speech until the start is believed: recorded
DEFAULT_SILENCE_S = 1.05  # of silence until the end is believed: recorded, default settings

_START_BLOCKS = round(START_S / BLOCK_S)
_GAP_BLOCKS = 12  # a pause within the first syllables
_LEAST_LOUD_SHARE = 0.5  # of what was heard until the start: a click is no speech

# Mean absolute sample values. A quiet microphone lies below 100, speech at some distance above 600.
_LEAST_ONSET = 450.0
_ONSET_OVER_FLOOR = 4.0
_OFFSET_SHARE = 0.5  # of the onset level: what was speech stays speech down to here
_LOWEST_FLOOR, _HIGHEST_FLOOR = 20.0, 600.0
_FLOOR_RISE = 1.0025  # per block: a room that got louder is learnt within seconds


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The decision that somebody speaks."""

    offset_s: float


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The decision that they stopped; the speech itself is from the first loud block to the end of the last one."""

    offset_s: float
    began_s: float
    ended_s: float

    @property
    def speech_s(self) -> float:
        """Its length."""
        return round(self.ended_s - self.began_s, 3)


SpeechEvent = SpeechStarted | SpeechEnded


class SpeechDetector:
    """Feed it audio in pieces of any size; it keeps what does not fill a block."""

    def __init__(self, *, silence_s: float = DEFAULT_SILENCE_S) -> None:
        self._silence_blocks = max(1, round(silence_s / BLOCK_S))
        self._rate_hz = 0
        self._rest = b""
        self._blocks = 0
        self._floor = _LOWEST_FLOOR
        self._first_loud: int | None = None
        self._last_loud = 0
        self._loud = 0
        self._speaking = False

    @property
    def offset_s(self) -> float:
        """Audio decided upon so far."""
        return round(self._blocks * BLOCK_S, 3)

    @property
    def speaking(self) -> bool:
        """Whether a start was told whose end is still to come."""
        return self._speaking

    def feed(self, pcm: bytes, rate_hz: int) -> list[SpeechEvent]:
        """Takes PCM16 little-endian mono and tells what was decided in it, in order."""
        if rate_hz != self._rate_hz:
            self._rate_hz, self._rest = rate_hz, b""
        size = max(1, round(rate_hz * BLOCK_S)) * 2
        data = self._rest + pcm
        whole = len(data) - len(data) % size
        self._rest = data[whole:]
        decisions = (self._decide(_level(data[begin : begin + size])) for begin in range(0, whole, size))
        return [event for event in decisions if event is not None]

    def flush(self) -> SpeechEnded | None:
        """The stream pauses (audioStreamEnd): whoever was speaking has ended."""
        self._rest = b""
        ended = self._end() if self._speaking else None
        self._first_loud = None
        return ended

    def _decide(self, level: float) -> SpeechEvent | None:
        onset = max(_LEAST_ONSET, _ONSET_OVER_FLOOR * self._floor)
        self._floor = min(max(level, _LOWEST_FLOOR), self._floor * _FLOOR_RISE, _HIGHEST_FLOOR)
        now = self._blocks
        self._blocks += 1
        if level >= (onset if self._first_loud is None else onset * _OFFSET_SHARE):
            if self._first_loud is None:
                self._first_loud, self._loud = now, 0
            self._last_loud = now
            self._loud += 1
        if self._first_loud is None:
            return None
        quiet = now - self._last_loud
        if self._speaking:
            return self._end() if quiet >= self._silence_blocks else None
        if quiet > _GAP_BLOCKS:
            self._first_loud = None
            return None
        heard = now - self._first_loud + 1
        if heard >= _START_BLOCKS and self._loud >= heard * _LEAST_LOUD_SHARE:
            self._speaking = True
            return SpeechStarted(self.offset_s)
        return None

    def _end(self) -> SpeechEnded:
        assert self._first_loud is not None
        began_s, ended_s = round(self._first_loud * BLOCK_S, 3), round((self._last_loud + 1) * BLOCK_S, 3)
        self._speaking, self._first_loud = False, None
        return SpeechEnded(self.offset_s, began_s, ended_s)


def _level(block: bytes) -> float:
    samples = array("h", block)
    if byteorder == "big":
        samples.byteswap()
    return sum(map(abs, samples)) / len(samples)
