"""OpenStreetMap: places by Photon, ways by OSRM. Both can be run by oneself; the public ones ask for moderate use.

https://github.com/komoot/photon/blob/master/docs/api-v1.md
https://project-osrm.org/docs/v5.24.0/api/#route-service
"""

from __future__ import annotations

import math
from typing import Any

from opentelemetry.trace import Tracer

from voicespan_server.places.geo import Mode, Position
from voicespan_server.places.http import MapClient
from voicespan_server.places.provider import Place, PlacesError, Route

MAX_RESULTS = 20
PROFILES: dict[Mode, str] = {"walk": "foot", "bike": "bike", "car": "car"}
DEGREE_M = 111_320.0  # of latitude


class OsmPlaces:
    """The map of OpenStreetMap's contributors."""

    attribution = "© OpenStreetMap contributors"

    def __init__(self, tracer: Tracer, *, photon_url: str, osrm_url: str) -> None:
        # FOSSGIS's OSRM has a server for each profile; an address without {profile} is one that has them all.
        self._photon = MapClient("Photon", photon_url, tracer)
        self._osrm = {
            mode: MapClient("OSRM", osrm_url.replace("{profile}", profile), tracer)
            for mode, profile in PROFILES.items()
        }

    async def search(self, query: str, near: Position, radius_m: float) -> list[Place]:
        """What Photon finds by name or kind in a box around the circle. It wants words to look for."""
        if not query.strip():
            raise PlacesError("say what to look for: Photon finds places by words")
        return await self._ask({"q": query, "limit": MAX_RESULTS, "bbox": _box(near, radius_m), **_near(near)})

    async def find(self, name: str, near: Position) -> Place | None:
        """What Photon thinks is meant, those nearby first."""
        found = await self._ask({"q": name, "limit": 1, **_near(near)})
        return found[0] if found else None

    async def route(self, start: Position, end: Position, mode: Mode) -> Route | None:
        """The fastest way of the profile."""
        told = await self._osrm[mode].get(
            "/route/v1/{profile}/{coordinates}",
            {"overview": "false"},
            profile=PROFILES[mode],
            coordinates=f"{start.lon:.6f},{start.lat:.6f};{end.lon:.6f},{end.lat:.6f}",
        )
        try:
            best = told["routes"][0]
            return Route(float(best["distance"]), float(best["duration"]) / 60)
        except (LookupError, TypeError, ValueError) as error:
            raise PlacesError("OSRM answers with something else than a route") from error

    async def close(self) -> None:
        """Let go of connections."""
        await self._photon.close()
        for client in self._osrm.values():
            await client.close()

    async def _ask(self, query: dict[str, str | float]) -> list[Place]:
        told = await self._photon.get("/api", {**query, "lang": "en"})
        try:
            return [_place(feature) for feature in told["features"] if feature["properties"].get("name")]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise PlacesError("Photon answers with something else than places") from error


def _place(feature: dict[str, Any]) -> Place:
    lon, lat = feature["geometry"]["coordinates"][:2]
    told = feature["properties"]
    street = " ".join(str(told[part]) for part in ("street", "housenumber") if told.get(part))
    address = ", ".join(part for part in (street, str(told.get("city", ""))) if part)
    kinds = tuple(str(told[key]) for key in ("osm_key", "osm_value") if told.get(key))
    return Place(str(told["name"]), address, Position(float(lat), float(lon)), kinds)


def _near(position: Position) -> dict[str, str | float]:
    return {"lat": position.lat, "lon": position.lon}


def _box(centre: Position, radius_m: float) -> str:
    """west,south,east,north around a circle."""
    lat = radius_m / DEGREE_M
    lon = lat / max(0.01, math.cos(math.radians(centre.lat)))
    return f"{centre.lon - lon:.6f},{centre.lat - lat:.6f},{centre.lon + lon:.6f},{centre.lat + lat:.6f}"
