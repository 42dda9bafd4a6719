"""Where the user's speech ended, found in the audio that was sent.

A provider's detector tells when it decided that speech had ended, about a second after it did; what a caller feels is
counted from the end of the sound. So of the last seconds of audio the loudness is kept, a number for each 20 ms, and
searched backwards once per turn, when the model's first output has come: by then the sound has ended, and the newest
audio is the background that speech has to stand out from.

The thresholds were chosen on one labelled set of speech in noise and are reported on another: benchmarks/acoustic.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from itertools import islice, pairwise
from math import log10
from typing import NamedTuple

# A digital line's own noise: 8 of 32768 for each of a block's sixteen differences.
MIN_LEVEL = 8.0 * 16**0.5

# Counts are of blocks from here on, levels are factors. The background of a block is all that came after it but for
# the next quarter of a second, which may be its word's last sounds: nearly all of it is no louder. Where it comes and
# goes, as music and other voices do, it may be louder next time: so it is raised by a part of how far that is above its
# middle, in decibels.
AFTER, AT_LEAST, NEARLY_ALL, UNSTEADY = 12, 6, 0.9, 0.4
# Speech is above it, and no more than 20 dB below the loudest of its last second: breaths and echo are.
# A click is shorter than a syllable: so many of so many blocks have to be loud, the last two of them together.
ABOVE_BACKGROUND, BELOW_PEAK = 1.5, 0.1
LOUD, OF = 4, 12
ENOUGH = AT_LEAST + OF  # to search in
# A voice that trails off is below the loudest of the whole window: look again with what was loudest near the end.
SECOND, ROUNDS = 50, 3
# Where the loudest speech is less above the background (13 dB), its quiet end is lost in it: no answer then.
STANDS_OUT = 4.3
# The last sound of a word, an f or an s, is heard to 29 dB below the loudest (of high sounds: 26 dB), if it is above
# the background at all. What falls by more than 3 dB in two blocks is not followed as far (24 and 22 dB): a room
# prolongs it.
TAIL_ABOVE_BACKGROUND, FALLING = 1.1, 0.7
VOICE_BELOW_PEAK, VOICE_FALLING_BELOW_PEAK = 0.035, 0.065
HIGH_BELOW_PEAK, HIGH_FALLING_BELOW_PEAK = 0.05, 0.08
# A noise suppressor lets noise through with speech, and not at once none: the softest there was with speech is that.
SOFTEST, ABOVE_SOFTEST = 0.05, 1.3
# It is this long at most, may pause (a t does), and is not as loud as a click.
TAIL, TAIL_PAUSE, CLICK = 30, 5, 2.7
# What a louder background hides of the last sound: 3 ms for each dB that it is above what is heard in silence (30 dB
# below the loudest), 40 at most.
HEARD_BELOW_PEAK, HIDDEN_S_PER_DB, HIDDEN_AT_MOST_S = 0.0316, 0.003, 0.040


class LastSound(NamedTuple):
    """The last block with speech, and for how long speech went on unheard under the background."""

    blocks_ago: int
    hidden_s: float


def last_sound(voice: Sequence[float], high: Callable[[], Sequence[float]]) -> LastSound | None:
    """Where speech ended in these levels, newest first; None where none stands out or it has not ended.

    Those of `high` sounds are asked for where there was speech.
    """
    if len(voice) < ENOUGH:
        return None
    levels = _smooth(voice)
    lasting, backgrounds = _lasting(levels), _Backgrounds(levels)
    peak, end = max(lasting), -1
    for _ in range(ROUNDS):
        before, end = end, _last_syllable(levels, lasting, backgrounds, peak)
        if end < AT_LEAST:
            return None  # no speech, or up to the end of the audio
        if end == before:
            break
        peak = max(lasting[end : end + SECOND])
    if peak < backgrounds[end] * STANDS_OUT:
        return None
    in_voice = _audible(levels, backgrounds[end], end, VOICE_BELOW_PEAK, VOICE_FALLING_BELOW_PEAK)
    levels = _smooth(high())
    in_high = _audible(levels, _Backgrounds(levels)[end], end, HIGH_BELOW_PEAK, HIGH_FALLING_BELOW_PEAK)
    last = _with_tail([a or b for a, b in zip(in_voice, in_high, strict=True)], end)
    hidden_db = 20 * log10(max(1.0, backgrounds[end] * TAIL_ABOVE_BACKGROUND / peak / HEARD_BELOW_PEAK))
    return None if last is None else LastSound(last, min(hidden_db * HIDDEN_S_PER_DB, HIDDEN_AT_MOST_S))


class _Backgrounds:
    """Each block's, found when it is asked for: few are, and mostly one after the other."""

    def __init__(self, levels: Sequence[float]) -> None:
        self._levels = levels
        self._after: list[float] = []  # the newest of these levels, sorted
        self._found: dict[int, float] = {}

    def __getitem__(self, block: int) -> float:
        found = self._found.get(block)
        if found is None:
            count, after = max(AT_LEAST, block - AFTER), self._after
            if len(after) == count - 1:
                insort(after, self._levels[count - 1])
            elif len(after) != count:
                after = self._after = sorted(self._levels[:count])
            loud, middle = after[int(NEARLY_ALL * count)], after[count >> 1]
            if middle < MIN_LEVEL:
                loud, middle = max(loud, MIN_LEVEL), MIN_LEVEL
            found = self._found[block] = loud * (loud / middle) ** UNSTEADY
        return found


def _lasting(levels: Sequence[float]) -> list[float]:
    """How loud each block and the one before it are at least: the loudest of these lasts two blocks."""
    return [a if a < b else b for a, b in pairwise(levels)]


def _last_syllable(levels: Sequence[float], lasting: Sequence[float], backgrounds: _Backgrounds, peak: float) -> int:
    """The newest block of what is loud for long enough to be speech; -1 where nothing is."""
    floor = peak * BELOW_PEAK
    for at, level in enumerate(islice(lasting, len(levels) - OF + 1)):
        if level >= floor:
            threshold = max(backgrounds[at] * ABOVE_BACKGROUND, floor)
            if level >= threshold and sum(level >= threshold for level in levels[at : at + OF]) >= LOUD:
                return at
    return -1


def _audible(
    levels: Sequence[float], background: float, end: int, below_peak: float, falling_below_peak: float
) -> list[bool]:
    """Of each block after `end`, whether what is in it may be a word's last sound."""
    peak = max(_lasting(levels[end : end + SECOND + 1]))
    floor = max(background * TAIL_ABOVE_BACKGROUND, _percentile(levels[end:], SOFTEST) * ABOVE_SOFTEST)
    click = max(background * ABOVE_BACKGROUND, peak * BELOW_PEAK) * CLICK
    return [
        max(floor, peak * (falling_below_peak if level < before * FALLING else below_peak)) <= level < click
        for level, before in zip(levels[:end], levels[2:], strict=False)
    ]


def _with_tail(audible: Sequence[bool], end: int) -> int | None:
    """The newest block of a word's last sounds; None where they go on, being none then."""
    earliest = max(0, end - TAIL)
    for at in range(end - 1, earliest - 1, -1):
        if audible[at]:
            end = at
        elif end - at >= TAIL_PAUSE:
            return end
    return None if end - earliest < TAIL_PAUSE else end


def _smooth(levels: Sequence[float]) -> list[float]:
    """Each with half of its neighbours."""
    middle = [(a + (b + b) + c) * 0.25 for a, b, c in zip(levels, levels[1:], levels[2:], strict=False)]
    return [levels[0], *middle, levels[-1]]


def _percentile(levels: Sequence[float], share: float) -> float:
    return _ranked(sorted(levels), share)


def _ranked(ascending: Sequence[float], share: float) -> float:
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]
