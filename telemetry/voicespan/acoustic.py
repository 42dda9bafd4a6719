"""Where the user's speech ended, found in the audio that was sent.

A provider's detector tells when it decided that speech had ended, about a second after it did; what a caller feels is
counted from the end of the sound. So of the last seconds of audio the loudness is kept, a number for each 20 ms, and
searched backwards once per turn, when the model's first output has come: by then the sound has ended, and the newest
audio is the background that speech has to stand out from.

The thresholds were chosen on one labelled set of speech in noise and are reported on another: benchmarks/acoustic.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from functools import cache
from math import dist
from struct import Struct
from typing import NamedTuple

# Of loudness kept: an answer begins one to three seconds after speech ends, a slow one later.
WINDOW_S = 6.0
BLOCK_S = 0.020
BLOCKS = round(WINDOW_S / BLOCK_S)

# Loudness is that of the difference of samples 0.25 ms apart, which has the voice and its high sounds (it peaks at
# 2 kHz), little of the mains and of cars (50 Hz: 28 dB less), and no offset. Sixteen such pairs tell that of 20 ms.
PAIRS = 16
PAIR_S = 0.00025

# Counts are of blocks from here on. The newest ones are background; so loud as this share of them are.
BACKGROUND, BACKGROUND_SHARE = 25, 0.65
# Speech is 5 dB above it, and no more than 20 dB below the loudest that lasts two blocks: breaths and echo are.
# A click is shorter than a syllable: so many of so many blocks have to be loud, the last two of them together.
ABOVE_BACKGROUND, BELOW_PEAK = 1.8, 0.1
LOUD, OF = 4, 12
# The background once more, now all that came after speech but for its last sounds: nearly all of it is no louder.
SETTLED, AT_LEAST, NEARLY_ALL = 25, 6, 0.9
# A digital line's own noise: 8 of 32768 for each difference.
MIN_LEVEL = 8.0 * PAIRS**0.5
# Where the loudest speech is less above that (16 dB), its quiet end is lost in it: no answer then.
STANDS_OUT = 6.0
# The last sound of a word, an f or an s, is audible to 33 dB below the loudest, if it is above the background at all.
# It is this long at most, may pause (a t does), and is not as loud as a click.
TAIL_ABOVE_BACKGROUND, TAIL_BELOW_PEAK = 1.1, 0.023
TAIL, TAIL_PAUSE, CLICK = 25, 5, 2.7


class RecentAudio:
    """The loudness of the last seconds of 16-bit little-endian mono audio. Four kilobytes; no audio is kept."""

    __slots__ = ("_blocks", "_ended_ns", "_levels", "_pairs", "_rate_hz", "_rest", "_sent_ns")

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._pairs = _pairs(rate_hz)
        self._levels = array("f", bytes(4 * BLOCKS))
        self._ended_ns = array("q", bytes(8 * BLOCKS))
        self._blocks = 0  # since the last clear: the newest is at this less one, modulo BLOCKS
        self._rest = b""
        self._sent_ns = 0

    def add(self, pcm: bytes, sent_ns: int) -> None:
        """A frame that was sent at `sent_ns`, which is when its last sample was spoken."""
        if self._rest:
            pcm = self._rest + pcm
        unpack, apart, size = self._pairs
        start, left = 0, len(pcm)
        while left >= size:
            left -= size
            slot = self._blocks % BLOCKS
            self._levels[slot] = dist(unpack(pcm, start), unpack(pcm, start + apart))
            # Never before the frame ahead of it was sent, since a client may send in bursts.
            ended_ns = sent_ns - left * 500_000_000 // self._rate_hz if left else sent_ns
            self._ended_ns[slot] = ended_ns if ended_ns > self._sent_ns else self._sent_ns
            self._blocks += 1
            start += size
        self._rest = bytes(pcm[start:]) if left else b""
        self._sent_ns = sent_ns

    def clear(self) -> None:
        """What was searched belongs to a turn that has begun."""
        self._blocks, self._rest, self._sent_ns = 0, b"", 0

    def end_of_speech_ns(self) -> int | None:
        """When speech ended; None where there was none, or where it cannot be told from the background."""
        slot = self._blocks % BLOCKS
        newest_first = [*self._levels[:slot][::-1], *self._levels[slot:][::-1]]
        since = blocks_since_speech(newest_first[: self._blocks])
        if since is None:
            return None
        last = self._blocks - 1 - since
        ended_ns, began_ns = self._ended_ns[last % BLOCKS], self._ended_ns[(last - 1) % BLOCKS]
        # Anywhere in its last block, so taken for the middle.
        return max(ended_ns - round(BLOCK_S * 0.5e9), began_ns)


def blocks_since_speech(newest_first: Sequence[float]) -> int | None:
    """How many blocks came after the last one with speech; None where no speech stands out or it has not ended."""
    if len(newest_first) < BACKGROUND + OF:
        return None
    levels = _smooth(newest_first)
    peak = max(map(min, levels, levels[1:]))
    background = max(_percentile(levels[:BACKGROUND], BACKGROUND_SHARE), MIN_LEVEL)
    threshold = max(background * ABOVE_BACKGROUND, peak * BELOW_PEAK)
    loud = [level >= threshold for level in levels]
    syllable = next((at for at in range(len(loud) - OF + 1) if sum(loud[at : at + OF]) >= LOUD), 0)
    end = next((at for at in range(syllable, len(loud) - 1) if loud[at] and loud[at + 1]), 0)
    if syllable == 0 or end < AT_LEAST:
        return None  # no speech, or up to the end of the audio
    background = max(_percentile(levels[: max(AT_LEAST, end - SETTLED)], NEARLY_ALL), MIN_LEVEL)
    if peak < background * STANDS_OUT:
        return None
    audible = max(background * TAIL_ABOVE_BACKGROUND, peak * TAIL_BELOW_PEAK)
    return _with_tail(levels, end, audible, threshold * CLICK)


def _with_tail(levels: Sequence[float], end: int, audible: float, click: float) -> int | None:
    """The newest block of a word's last sounds; None where they go on, being none then."""
    earliest = max(0, end - TAIL)
    for at in range(end - 1, earliest - 1, -1):
        if audible <= levels[at] < click:
            end = at
        elif end - at >= TAIL_PAUSE:
            return end
    return None if end - earliest < TAIL_PAUSE else end


def _smooth(levels: Sequence[float]) -> list[float]:
    """Each with half of its neighbours."""
    middle = ((a + 2 * b + c) / 4 for a, b, c in zip(levels, levels[1:], levels[2:], strict=False))
    return [levels[0], *middle, levels[-1]]


def _percentile(levels: Sequence[float], share: float) -> float:
    return sorted(levels)[min(len(levels) - 1, int(share * len(levels)))]


class _Pairs(NamedTuple):
    """How pairs are read: the first samples of all of them with `unpack`, the second ones `apart` bytes later."""

    unpack: Callable[[bytes, int], tuple[int, ...]]
    apart: int
    block_bytes: int


@cache
def _pairs(rate_hz: int) -> _Pairs:
    apart, every = max(1, round(rate_hz * PAIR_S)), max(2, round(rate_hz * BLOCK_S / PAIRS))
    firsts = Struct("<" + f"h{2 * every - 2}x" * (PAIRS - 1) + "h")
    return _Pairs(firsts.unpack_from, 2 * apart, 2 * every * PAIRS)
