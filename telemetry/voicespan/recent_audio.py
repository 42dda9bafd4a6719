"""The last seconds of the user's audio: as much of it as tells how loud it was, and when it was sent. See `acoustic`.

A frame is only taken note of when it is sent. Every half second what has come since is thinned out to the few samples
from which loudness is told; loudness itself is computed when the end of speech is searched, once per turn.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from functools import cache
from itertools import accumulate
from math import dist
from struct import Struct
from time import perf_counter_ns
from typing import NamedTuple

from voicespan.acoustic import ENOUGH, last_sound

# An answer begins one to three seconds after speech ends, a slow one later.
WINDOW_S = 6.0
BLOCK_S = 0.020
BLOCKS = round(WINDOW_S / BLOCK_S)
# Frames wait so long to be thinned out together.
WHOLE_S = 0.5

# Loudness is that of differences of samples, so that no offset counts. Of those 0.25 ms apart: the voice and much of
# its high sounds (it peaks at 2 kHz), little of the mains and of cars (50 Hz: 28 dB less). And of those 0.06 ms apart
# (it peaks at 8 kHz): a t or an s after a word may be lost in the first and be the loudest there is in the second.
# Sixteen such pairs each tell that of 20 ms.
PAIRS = 16
VOICE_S, HIGH_S = 0.00025, 0.00006
# From the end of the last block to the end of the sound in it, on average.
INTO_BLOCK_S = 0.012
_NEVER_NS = -(1 << 62)
_blocks_of = Struct(f"<{PAIRS}h").iter_unpack


class RecentAudio:
    """Of 16-bit little-endian mono audio: up to half a second as it came, and of the 6 s before the samples in pairs.

    At 16 kHz some 16 and 45 KB at most, while a microphone is open; next to nothing where none is. `epoch_ns` is when
    `perf_counter_ns` was 0.
    """

    __slots__ = (
        "_before",
        "_before_rate",
        "_before_rate_s",
        "_end",
        "_epoch_ns",
        "_frames",
        "_kept",
        "_plan",
        "_rest",
        "_room",
        "_sent_ns",
        "_thinned",
    )

    def __init__(self, rate_hz: int, epoch_ns: int = 0) -> None:
        self._epoch_ns = epoch_ns
        self._plan = _plan(rate_hz)
        self._before = self._before_rate = 0
        self._before_rate_s = 0.0
        self._room = self._plan.whole_bytes
        self.clear()

    def rate(self, rate_hz: int) -> None:
        """What follows has this rate; what is kept of another is forgotten."""
        self.clear()
        self._before_rate_s, self._before_rate = self.duration_s, self._before
        self._plan = _plan(rate_hz)
        self._room = self._plan.whole_bytes

    def clear(self) -> None:
        """What was searched belongs to a turn that has begun."""
        self._let_go()
        self._rest = b""  # what was too little for a block
        self._thinned: tuple[_Thinned, ...] = ()
        self._kept = self._end = 0  # blocks in these; bytes since the last clear that are
        # When the frame before, and each frame that is whole yet, was sent, in nanoseconds since `epoch_ns`. A list:
        # appending to an array takes a tenth of what a frame may.
        self._sent_ns = [_NEVER_NS]

    def _let_go(self) -> None:
        """Of the frames that are whole yet."""
        self._before = self.sent_bytes
        self._frames: list[bytes] = []
        self._room = self._plan.whole_bytes  # for so many more

    def add(self, pcm: bytes, sent_ns: int | None = None) -> None:
        """A frame that was sent now, or at `sent_ns`, which is when its last sample was spoken.

        Some fifty come in a second.
        """
        self._frames.append(pcm)
        self._sent_ns.append(perf_counter_ns() if sent_ns is None else int(sent_ns) - self._epoch_ns)
        self._room -= len(pcm)
        if self._room <= 0:
            self._thin_out()

    def take_back(self, size_bytes: int) -> None:
        """So much of it was not sent; as sound it stays, for it was spoken."""
        self._before -= size_bytes

    @property
    def sent_bytes(self) -> int:
        """Of all that was sent, ever."""
        return self._before + self._plan.whole_bytes - self._room

    @property
    def duration_s(self) -> float:
        """Of all that was sent, ever, at whatever rate."""
        return self._before_rate_s + (self.sent_bytes - self._before_rate) / self._plan.bytes_per_s

    def end_of_speech_ns(self) -> int | None:
        """When speech ended; None where there was none, or where it cannot be told from the background."""
        waiting = len(self._rest) + self._plan.whole_bytes - self._room
        if self._kept + waiting // self._plan.block_bytes < ENOUGH:
            return None
        self._thin_out()
        bytes_of = [b"".join(parts) for parts in zip(*(thinned.samples for thinned in self._thinned), strict=True)]
        firsts = list(_blocks(*bytes_of[:2]))

        def levels(low: bytes, high: bytes) -> list[float]:
            return list(map(dist, firsts, _blocks(low, high)))[::-1]

        found = last_sound(levels(*bytes_of[2:4]), lambda: levels(*bytes_of[4:]))
        if found is None:
            return None
        last = (self._end - len(self._rest)) // self._plan.block_bytes - found.blocks_ago
        ended_ns, began_ns = self._ended_ns(last), self._ended_ns(last - 1)
        # A client may send in bursts: what was sent by then was spoken by then.
        last_sent_ns = self._epoch_ns + self._sent_ns[-1]
        return min(max(ended_ns + round((found.hidden_s - INTO_BLOCK_S) * 1e9), began_ns), last_sent_ns)

    def _thin_out(self) -> None:
        if not self._frames:
            return
        plan = self._plan
        pcm = b"".join((self._rest, *self._frames))
        arrived = len(pcm) - len(self._rest)
        blocks = len(pcm) // plan.block_bytes
        whole = blocks * plan.block_bytes
        self._rest, pcm = pcm[whole:], pcm[:whole]
        # From lists: a tuple of an iterator's is never made of one that was freed, and up to 2,000 of those are kept.
        lengths = set(map(len, self._frames))
        sizes = (lengths.pop(),) * len(self._frames) if len(lengths) == 1 else tuple([len(f) for f in self._frames])
        begin, self._end = self._end, self._end + arrived
        samples = tuple([pcm[each] for each in plan.slices])
        thinned = [*self._thinned, _Thinned(blocks, samples, begin, self._end, sizes, array("q", self._sent_ns))]
        self._kept += blocks
        while self._kept - thinned[0].blocks >= BLOCKS:
            self._kept -= thinned.pop(0).blocks
        self._thinned = tuple(thinned)
        del self._sent_ns[:-1]
        self._let_go()

    def _ended_ns(self, block: int) -> int:
        """When the last sample of so many blocks was spoken.

        Never before the frame ahead of it was sent, since a client may send in bursts.
        """
        end = block * self._plan.block_bytes
        thinned = next(thinned for thinned in self._thinned if thinned.end >= end)
        ends = list(accumulate(thinned.sizes, initial=thinned.begin))
        frame = bisect_left(ends, end)
        late_ns = (ends[frame] - end) * 1_000_000_000 // self._plan.bytes_per_s
        sent_ns = max(thinned.sent_ns[frame] - late_ns, thinned.sent_ns[frame - 1] if frame else 0)
        return self._epoch_ns + sent_ns


class _Thinned(NamedTuple):
    """Some audio: the bytes of the samples in pairs, each kind by itself, as a slice takes them, and its frames.

    It lies between these bytes since the last clear. The first time is when the frame before it was sent.
    """

    blocks: int
    samples: tuple[bytes, ...]
    begin: int
    end: int
    sizes: tuple[int, ...]
    sent_ns: array[int]


def _blocks(low: bytes, high: bytes) -> Iterator[tuple[int, ...]]:
    """Of the low and the high bytes of samples: those of each block of the window."""
    samples = bytearray(2 * len(low))
    samples[::2], samples[1::2] = low, high
    return _blocks_of(samples[-2 * PAIRS * BLOCKS :])


class _Plan(NamedTuple):
    """How audio of a rate is thinned out; all in bytes.

    The slices are of the low and of the high bytes of the first samples of pairs, then of the second ones, for the
    voice and for high sounds.
    """

    bytes_per_s: int
    whole_bytes: int
    block_bytes: int
    slices: tuple[slice, ...]


@cache
def _plan(rate_hz: int) -> _Plan:
    every = 2 * max(2, round(rate_hz * BLOCK_S / PAIRS))
    high = 2 * max(1, round(rate_hz * HIGH_S))
    voice = max(high, 2 * round(rate_hz * VOICE_S))
    slices = tuple(slice(first, None, every) for first in (0, 1, voice, voice + 1, high, high + 1))
    return _Plan(2 * rate_hz, round(2 * rate_hz * WHOLE_S), every * PAIRS, slices)
