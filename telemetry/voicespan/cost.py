"""What a call costs in US dollars: list prices by bucket, from the `genai-prices` package (extra `cost`).

A bucket without a price of its own is billed as its parent is, as in genai-prices: audio, image, cached and
unclassified input as text input, reasoning as text output. A model nobody prices costs nothing *known*: no number
is reported for it, and never zero.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import TYPE_CHECKING

from voicespan.usage import BUCKETS, INPUT_BUCKETS, Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

# The price key of each bucket in genai-prices; what it has no price for falls back to the plain one.
_PRICE_KEYS = {
    "input_audio": "input_audio_mtok",
    "input_image": "input_image_mtok",
    "input_video": "input_video_mtok",
    "input_cached": "cache_read_mtok",
    "output_audio": "output_audio_mtok",
    "output_image": "output_image_mtok",
}


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """US dollars per million tokens, by usage bucket, and whose. Compared by identity: a mapping has no hash."""

    per_million: Mapping[str, float]
    source: str
    version: str

    def cost(self, usage: Usage, suffix: str = "") -> dict[str, float]:
        """US dollars by bucket, each name with `suffix`, and their sum as `total`."""
        parts = {
            bucket + suffix: count * self.per_million[bucket]
            for bucket, count in usage.buckets().items()
            if bucket in self.per_million
        }
        parts["total"] = sum(parts.values())
        # Divided last: 0.0024 and not 0.0024000000000000002.
        return {bucket: micro_usd / 1e6 for bucket, micro_usd in parts.items()}


@lru_cache(maxsize=64)
def prices_of(model: str, on: date) -> Prices | None:
    """A Google model's list prices of that day; None for an unknown model or without the extra `cost`."""
    try:
        from genai_prices import __version__  # noqa: PLC0415 - an extra, and 40 ms to import
        from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415
    except ImportError:
        return None
    try:
        _, found = get_snapshot().find_provider_model(bare_name(model), None, "google", None)
    except LookupError:
        return None
    price = found.get_prices(datetime.combine(on, time(), UTC))
    per_million = {bucket: _per_million(price, bucket) for bucket in BUCKETS}
    return Prices(
        {bucket: usd for bucket, usd in per_million.items() if usd is not None},
        source="genai-prices",
        version=__version__,
    )


def override_of(table: Mapping[str, Mapping[str, float]], model: str) -> Prices | None:
    """A program's own prices for a model, in US dollars per million tokens by bucket; None where it has none.

    Their version is a digest of the table, so that a span tells by which it was priced.
    """
    if (own := table.get(model)) is None:
        return None
    digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:12]
    return Prices(own, source="settings", version=digest)


def bare_name(model: str) -> str:
    """`models/gemini-3.8-live` or a Vertex resource path -> `gemini-3.8-live`."""
    return model.rsplit("/", 1)[-1]


def _per_million(price: ModelPrice, bucket: str) -> float | None:
    plain = "input_mtok" if bucket in INPUT_BUCKETS else "output_mtok"
    for key in (_PRICE_KEYS.get(bucket), plain):
        usd_per_million = getattr(price, key, None) if key else None
        if usd_per_million is not None:
            # Tiered prices rise with the length of the prompt; Live has none, so the base is what applies.
            return float(getattr(usd_per_million, "base", usd_per_million))
    return None
