"""WAV files of 16-bit mono audio, and where the last thing that was said in a piece of audio begins."""

from __future__ import annotations

import struct
from itertools import pairwise
from math import dist

HEADER_BYTES = 44
# Sampled so often: syllables are longer, and it is done in Python, beside an event loop that wants to go on.
STEP_S = 0.050
# As in `acoustic`: loudness is that of the difference of samples 0.5 ms apart, of a few of them.
PAIRS = 16
PAIR_S = 0.0005
# Speech is no less than 20 dB below its loudest; a longer pause than this is not inside an utterance.
BELOW_PEAK = 0.1
PAUSE_S = 2.0
# How long after it was noticed speech has become as loud as it gets, about.
SETTLED_S = 1.0


def wav(pcm: bytes, rate_hz: int) -> bytes:
    """A RIFF file with one channel of 16-bit little-endian samples."""
    size = len(pcm)
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, rate_hz, rate_hz * 2, 2, 16, b"data", size
    )
    return head + pcm


def utterance_start(pcm: bytes, rate_hz: int, lead_s: float, noticed: int | None = None) -> int:
    """The byte at which an utterance begins, less `lead_s` seconds: the last, or the one going on at byte `noticed`.

    Searched backwards: speech goes back to where it is quiet for longer than a pause. A room as loud as a quiet voice
    is taken for speech, and then more is kept, not less. 0 where nothing stands out.
    """
    apart = max(1, round(rate_hz * PAIR_S))
    block = apart * 2 * PAIRS
    step = max(block, round(rate_hz * STEP_S))
    samples = memoryview(pcm)[: len(pcm) // 2 * 2].cast("h")
    if noticed is not None:
        samples = samples[: noticed // 2 + round(SETTLED_S * rate_hz)]
    levels = [
        dist(samples[at : at + block : 2 * apart], samples[at + apart : at + block : 2 * apart])
        for at in range(0, len(samples) - block + 1, step)
    ]
    peak = max((min(pair) for pair in pairwise(levels)), default=0.0)  # a click is in one of them alone
    loud = [at for at, level in enumerate(levels) if level >= peak * BELOW_PEAK] if peak else []
    if not loud:
        return 0
    begin = loud[-1] if noticed is None else noticed // 2 // step
    for at in reversed(loud):
        if (begin - at) * step > PAUSE_S * rate_hz:
            break
        begin = min(begin, at)
    return max(0, begin * step - round(lead_s * rate_hz)) * 2
