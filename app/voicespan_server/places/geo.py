"""Plain geometry on the globe, and how long people take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Mode = Literal["walk", "bike", "car"]

EARTH_RADIUS_M = 6_371_000
COMPASS = ("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west")

# A traveller's detour over the crow's flight, and metres in a minute.
DETOUR = 1.3
SPEED_M_PER_MIN: dict[Mode, int] = {"walk": 80, "bike": 250, "car": 400}


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

    def bearing_deg(self, other: Position) -> float:
        """The way to set off on a great circle: degrees from north, clockwise, in [0, 360)."""
        lat, other_lat = math.radians(self.lat), math.radians(other.lat)
        along = math.radians(other.lon - self.lon)
        east = math.sin(along) * math.cos(other_lat)
        north = math.cos(lat) * math.sin(other_lat) - math.sin(lat) * math.cos(other_lat) * math.cos(along)
        return math.degrees(math.atan2(east, north)) % 360

    def direction(self, other: Position) -> str:
        """The same as one of eight compass points."""
        return COMPASS[round(self.bearing_deg(other) / 45) % 8]


def minutes(distance_m: float, mode: Mode) -> int:
    """How long it may take over streets that nobody looked at, for a distance as the crow flies; at least one."""
    return max(1, round(distance_m * DETOUR / SPEED_M_PER_MIN[mode]))
