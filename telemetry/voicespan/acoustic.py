"""Where the user's speech ended, found in the audio that was sent.

A provider's detector tells when it decided that speech had ended, about a second after it did; what a caller feels is
counted from the end of the sound. So the last seconds of audio are kept by reference, and searched backwards once per
turn, when the model's first output has come: by then the sound has ended, and the newest audio is the background that
speech has to stand out from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

# Of audio kept: an answer begins one to three seconds after speech ends, some of it a tool's.
WINDOW_S = 6.0
BLOCK_S = 0.010
# The newest audio, taken for background.
BACKGROUND_S = 0.200
# Speech is this much above the background (10 dB), and above what a quiet line hums (-54 dBFS); the last sound of a
# word, an f or an s, only so much, for so long after it.
ABOVE_BACKGROUND, MIN_LEVEL = 3.2, 64.0
TAIL_ABOVE_BACKGROUND, TAIL_MIN_LEVEL, TAIL_S = 1.5, 20.0, 0.300
# A breath or the room's echo after the last word is this far below it (-28 dB, and -36 dB within its tail).
BELOW_PEAK, TAIL_BELOW_PEAK = 0.04, 0.015
PEAK_S = 1.0
# Where the loudest of it is less than this above the background (22 dB), its quiet end is lost in it: no answer then.
STANDS_OUT = 12.0
# A click is shorter than a syllable: so many of so many blocks have to be loud.
LOUD_BLOCKS, OF_BLOCKS = 8, 16


class RecentAudio:
    """The last seconds of 16-bit mono audio, by reference. `add` computes nothing."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._frames: deque[tuple[bytes, int]] = deque()
        self._bytes = 0
        self._max_bytes = int(WINDOW_S * rate_hz) * 2

    def add(self, pcm: bytes, sent_ns: int) -> None:
        """A frame that was sent at `sent_ns`, which is when its last sample was spoken."""
        self._frames.append((pcm, sent_ns))
        self._bytes += len(pcm)
        while self._bytes > self._max_bytes:
            self._bytes -= len(self._frames.popleft()[0])

    def clear(self) -> None:
        """What was searched belongs to a turn that has begun."""
        self._frames.clear()
        self._bytes = 0

    def end_of_speech_ns(self) -> int | None:
        """When speech ended; None where there was none, or where it cannot be told from the background."""
        silence = trailing_silence([pcm for pcm, _ in self._frames], self._rate_hz)
        if silence is None:
            return None
        # Sample positions become times by the frame they were sent in, since a client may send in bursts.
        for index in range(len(self._frames) - 1, -1, -1):
            pcm, sent_ns = self._frames[index]
            samples = len(pcm) // 2
            if silence < samples or index == 0:
                spoken_ns = sent_ns - silence * 1_000_000_000 // self._rate_hz
                return max(spoken_ns, self._frames[index - 1][1]) if index else spoken_ns
            silence -= samples
        return None


def trailing_silence(frames: Sequence[bytes], rate_hz: int) -> int | None:
    """Samples between the end of speech and the end of the audio; None where no speech stands out."""
    block = int(rate_hz * BLOCK_S)
    levels: list[float] = []  # newest first
    blocks = _newest_first(frames, block)
    background_blocks = round(BACKGROUND_S / BLOCK_S)
    for level in blocks:
        levels.append(level)
        if len(levels) == background_blocks:
            break
    else:
        return None
    background = sorted(levels)[background_blocks // 2]
    threshold = max(background * ABOVE_BACKGROUND, MIN_LEVEL)
    loud = deque((level >= threshold for level in levels[-OF_BLOCKS:]), maxlen=OF_BLOCKS)
    if any(level >= threshold for level in levels):
        return None  # the sound goes on to the end of the audio
    for level in blocks:
        levels.append(level)
        loud.append(level >= threshold)
        if sum(loud) >= LOUD_BLOCKS:
            break
    else:
        return None
    first = len(levels) - OF_BLOCKS
    for level, _ in zip(blocks, range(round(PEAK_S / BLOCK_S)), strict=False):
        levels.append(level)
    peak = max(levels[first:])
    if peak < STANDS_OUT * max(background, TAIL_MIN_LEVEL):
        return None
    threshold = max(threshold, peak * BELOW_PEAK)
    end = next(index for index in range(first, len(levels)) if levels[index] >= threshold)
    tail = max(background * TAIL_ABOVE_BACKGROUND, TAIL_MIN_LEVEL, peak * TAIL_BELOW_PEAK)
    earliest = end - round(TAIL_S / BLOCK_S)
    while end > max(earliest, 0) and levels[end - 1] >= tail:
        end -= 1
    return end * block


def _newest_first(frames: Sequence[bytes], block: int) -> Iterator[float]:
    """Mean magnitudes of blocks of samples, from the end of the audio backwards."""
    size = block * 2
    rest = b""
    for frame in reversed(frames):
        pcm = frame + rest
        end = len(pcm)
        while end >= size:
            yield sum(map(abs, memoryview(pcm)[end - size : end].cast("h"))) / block
            end -= size
        rest = pcm[:end]
