"""Some thirty real places in the centre of Helsinki. Works without a network.

Positions were entered by hand and are approximate; there are no streets.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from voicespan_server.places.geo import Mode, Position
from voicespan_server.places.provider import Place, Route


class EmbeddedPlaces:
    """The embedded map."""

    attribution = ""

    async def search(self, query: str, near: Position, radius_m: float) -> list[Place]:
        """Places that match every word of `query`; the radius is the caller's business."""
        return [place for place in all_places() if _matches(place, query)]

    async def find(self, name: str, near: Position) -> Place | None:
        """The place that shares the most words with the name."""
        wanted = _words(name)
        scored = [(len(wanted & _words(f"{place.name} {' '.join(place.kinds)}")), place) for place in all_places()]
        score, best = max(scored, key=lambda pair: pair[0])
        return best if score else None

    async def route(self, start: Position, end: Position, mode: Mode) -> Route | None:
        """None: there are no streets here."""
        return None

    async def close(self) -> None:
        """Nothing is open."""


@cache
def all_places() -> tuple[Place, ...]:
    """The embedded places."""
    rows = json.loads(files(__package__).joinpath("places.json").read_text("utf-8"))
    return tuple(
        Place(row["name"], row["address"], Position(row["lat"], row["lon"]), tuple(row["kinds"])) for row in rows
    )


def _matches(place: Place, query: str) -> bool:
    words = _words(f"{place.name} {' '.join(place.kinds)}")
    return all(any(known.startswith(word) or word.startswith(known) for known in words) for word in _words(query))


def _words(text: str) -> set[str]:
    words = {word.strip(".,!?'\"").casefold() for word in text.split()} - {"", "the", "a", "an", "of", "to"}
    return {word[:-1] if word.endswith("s") and len(word) > 3 else word for word in words}
