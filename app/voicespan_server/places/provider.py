"""Who knows places and ways: the seam between the tools and a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from voicespan_server.places.geo import Mode, Position


class PlacesError(Exception):
    """A map could not be asked; one line that the model may read out."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place one can look for or go to. `kinds` are the words it is found by."""

    name: str
    address: str
    position: Position
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """A way over streets."""

    distance_m: float
    minutes: float


class PlacesProvider(Protocol):
    """A map. What it cannot do raises `PlacesError`."""

    # What those who show its data have to say with it; empty where nothing.
    attribution: str

    async def search(self, query: str, near: Position, radius_m: float) -> list[Place]:
        """Places that match, in any order, also some beyond the radius; all kinds for no query."""
        ...

    async def find(self, name: str, near: Position) -> Place | None:
        """The place that is meant by a name."""
        ...

    async def route(self, start: Position, end: Position, mode: Mode) -> Route | None:
        """The way over streets; None where this map has none."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
