"""Where a piece of the model's voice can first be heard."""

from __future__ import annotations

from itertools import pairwise
from struct import iter_unpack

BLOCK_S = 0.005
# A synthesised voice is some 20 dB below full scale and its hiss more than 60: mean magnitude, of 32768.
MIN_LEVEL = 33.0
# Speech is audible to 30 dB below its loudest.
BELOW_PEAK = 0.03
FULL_SCALE = 0x8000
# One sample of so many tells how loud a block is: 30 of 5 ms at 24 kHz.
EVERY = 4


def leading_silence_s(pcm: bytes, rate_hz: int) -> float | None:
    """Seconds of 16-bit little-endian mono audio before it can be heard; None where nothing in it can be.

    To be heard takes 10 ms, either half of it: a single sample, which the service may send first, is a click at most.
    """
    taken = max(1, round(rate_hz * BLOCK_S / EVERY))
    block = taken * EVERY
    whole = pcm[: len(pcm) // (2 * block) * (2 * block)]
    audible: float | None = None
    # Most pieces can be heard within a few blocks: the rest are not looked at, but where it depends on the loudest.
    levels = (sum(map(abs, samples)) / taken for samples in iter_unpack("<" + f"h{2 * EVERY - 2}x" * taken, whole))
    for index, pair in enumerate(pairwise(levels)):
        level = min(sum(pair) / 2, 2 * min(pair))
        if level < MIN_LEVEL:
            continue
        if level < BELOW_PEAK * FULL_SCALE:
            if audible is None:
                audible = BELOW_PEAK * _loudest(whole, taken)
            if level < audible:
                continue
        return index * block / rate_hz
    return None


# Of the high byte of a sample, in two's complement: how loud it is, less a remainder below 1.
_MAGNITUDE = bytes(min(high, 0xFF - high) for high in range(0x100))


def _loudest(whole: bytes, taken: int) -> float:
    """The level of the loudest block, by the high bytes alone: it counts only where it is a thousand and more."""
    levels = whole[1 :: 2 * EVERY].translate(_MAGNITUDE)
    sums = [sum(levels[at : at + taken]) for at in range(0, len(levels), taken)]
    return (max(sums, default=0) / taken + 0.5) * 0x100
