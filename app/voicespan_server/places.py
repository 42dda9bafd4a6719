"""Some thirty real places in the centre of Helsinki, and plain geometry over them. Works without a network.

Positions were entered by hand and are approximate; a distance is as the crow flies.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

EARTH_RADIUS_M = 6_371_000
COMPASS = ("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west")


@dataclass(frozen=True, slots=True)
class Position:
    """WGS 84, in degrees."""

    lat: float
    lon: float

    def distance_m(self, other: Position) -> float:
        """Great-circle distance (haversine)."""
        lat, other_lat = math.radians(self.lat), math.radians(other.lat)
        half = (
            math.sin((other_lat - lat) / 2) ** 2
            + math.cos(lat) * math.cos(other_lat) * math.sin(math.radians(other.lon - self.lon) / 2) ** 2
        )
        return 2 * EARTH_RADIUS_M * math.asin(math.sqrt(half))

    def direction(self, other: Position) -> str:
        """Which way to set off, as one of eight compass points."""
        east = math.radians(other.lon - self.lon) * math.cos(math.radians(self.lat))
        north = math.radians(other.lat - self.lat)
        return COMPASS[round(math.degrees(math.atan2(east, north)) / 45) % 8]


@dataclass(frozen=True, slots=True)
class Place:
    """A place one can look for or go to. `kinds` are the words it is found by."""

    name: str
    kinds: tuple[str, ...]
    address: str
    position: Position


# Where the traveller is until a client says otherwise: Helsinki Central Station.
HERE = Position(60.1710, 24.9414)


@cache
def all_places() -> tuple[Place, ...]:
    """The embedded places."""
    rows = json.loads(files(__package__).joinpath("places.json").read_text("utf-8"))
    return tuple(
        Place(row["name"], tuple(row["kinds"]), row["address"], Position(row["lat"], row["lon"])) for row in rows
    )


def nearby(query: str, radius_m: float, here: Position = HERE) -> list[tuple[Place, float]]:
    """Places that match every word of `query`, nearest first, with their distance in metres; all kinds for no query."""
    found = [
        (place, distance)
        for place in all_places()
        if (distance := here.distance_m(place.position)) <= radius_m and _matches(place, query)
    ]
    return sorted(found, key=lambda pair: pair[1])


def find(name: str) -> Place | None:
    """The place that is meant by a name: the one that shares the most words with it."""
    wanted = _words(name)
    scored = [(len(wanted & _words(f"{place.name} {' '.join(place.kinds)}")), place) for place in all_places()]
    score, best = max(scored, key=lambda pair: pair[0])
    return best if score else None


def _matches(place: Place, query: str) -> bool:
    words = _words(f"{place.name} {' '.join(place.kinds)}")
    return all(any(known.startswith(word) or word.startswith(known) for known in words) for word in _words(query))


def _words(text: str) -> set[str]:
    words = {word.strip(".,!?'\"").casefold() for word in text.split()} - {"", "the", "a", "an", "of", "to"}
    return {word[:-1] if word.endswith("s") and len(word) > 3 else word for word in words}
