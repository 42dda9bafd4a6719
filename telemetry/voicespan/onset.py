"""Where a piece of the model's voice begins to sound."""

from __future__ import annotations

# Mean magnitude of 5 ms below which nothing is heard (-54 dBFS): models begin with digital silence, or a faint hiss.
_BLOCK_S = 0.005
_AUDIBLE = 64


def leading_silence_s(pcm: bytes, rate_hz: int) -> float | None:
    """Seconds of inaudible 16-bit mono audio at its beginning; None where all of it is."""
    size = int(rate_hz * _BLOCK_S) * 2
    samples = memoryview(pcm)[: len(pcm) // 2 * 2]
    for begin in range(0, len(samples), size):
        block = samples[begin : begin + size].cast("h")
        if sum(map(abs, block)) >= _AUDIBLE * len(block):
            return begin / 2 / rate_hz
    return None
