"""Token usage in buckets that do not overlap.

Providers report a total and, beside it, parts that may be subsets of it or stand outside it. Everything here is
disjoint: a token is in one bucket, so that a sum of buckets is a sum of tokens and a price can be put on each.
"""

from __future__ import annotations

from operator import add
from typing import NamedTuple

INPUT_BUCKETS = (
    "input_text",
    "input_audio",
    "input_image",
    "input_video",
    "input_cached",
    "input_tool_use",
    "input_other",
)
OUTPUT_BUCKETS = (
    "output_text",
    "output_audio",
    "output_image",
    "output_reasoning",
    "output_other",
)
BUCKETS = INPUT_BUCKETS + OUTPUT_BUCKETS
_INPUTS, _BUCKETS = len(INPUT_BUCKETS), len(BUCKETS)


class Usage(NamedTuple):
    """What one provider report, or a sum of reports, bills; every number is in tokens.

    `input_other` and `output_other` hold what the provider counted but claimed for no modality.
    `provider_total` is the provider's own total, kept apart: Gemini leaves thoughts out of it.

    A tuple, the buckets in order, since a turn's is summed and listed dozens of times.
    """

    input_text: int = 0
    input_audio: int = 0
    input_image: int = 0
    input_video: int = 0
    input_cached: int = 0
    input_tool_use: int = 0
    input_other: int = 0
    output_text: int = 0
    output_audio: int = 0
    output_image: int = 0
    output_reasoning: int = 0
    output_other: int = 0
    provider_total: int = 0

    def __add__(self, other: Usage) -> Usage:  # type: ignore[override]
        # From a list: a tuple of an iterator's is never made of one that was freed, and up to 2,000 of those are kept.
        return Usage._make(list(map(add, self, other)))

    @property
    def input_tokens(self) -> int:
        """All that was read, cached tokens and tool results included."""
        return sum(self[:_INPUTS])

    @property
    def output_tokens(self) -> int:
        """All that was written, reasoning included."""
        return sum(self[_INPUTS:_BUCKETS])

    @property
    def total(self) -> int:
        """The sum of all buckets."""
        return sum(self[:_BUCKETS])

    def buckets(self, suffix: str = "") -> dict[str, int]:
        """The buckets that are not empty, by name with `suffix`, in a fixed order."""
        found = {}  # filled by hand: a comprehension, being a call, takes half as long again
        for bucket, count in zip(BUCKETS, self, strict=False):
            if count:
                found[bucket + suffix] = count
        return found

    def details(self, suffix: str = "") -> dict[str, int]:
        """The same, and their sum as `total`."""
        found = self.buckets(suffix)
        found["total"] = sum(found.values())
        return found


NOTHING = Usage()


def counted(report: Usage) -> Usage:
    """A program's report, in which what its provider left out, and so is None, is 0.

    Raises:
        TypeError: it is no Usage.
    """
    if not isinstance(report, Usage):
        raise TypeError(f"UsageReport takes a voicespan.Usage, got {type(report).__name__}")
    counts: tuple[int | None, ...] = report
    return Usage._make([count or 0 for count in counts]) if None in counts else report
