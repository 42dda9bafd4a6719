"""Google Maps: Places API (New) and Routes API.

https://developers.google.com/maps/documentation/places/web-service/text-search
https://developers.google.com/maps/documentation/places/web-service/nearby-search
https://developers.google.com/maps/documentation/routes/reference/rest/v2/TopLevel/computeRoutes
"""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import Tracer

from voicespan_server.places.geo import Mode, Position
from voicespan_server.places.http import MapClient
from voicespan_server.places.provider import Place, PlacesError, Route

# Without a mask they refuse; each field has its price, and these are of the cheapest kind that names a place.
PLACE_FIELDS = "places.displayName,places.formattedAddress,places.location,places.types"
ROUTE_FIELDS = "routes.duration,routes.distanceMeters"
# Circles may have at most this radius, lists at most this length.
MAX_RADIUS_M = 50_000.0
MAX_RESULTS = 20
TRAVEL_MODES: dict[Mode, str] = {"walk": "WALK", "bike": "BICYCLE", "car": "DRIVE"}


class GooglePlaces:
    """The map of Google."""

    attribution = "Google Maps"

    def __init__(self, key: str, tracer: Tracer, *, places_url: str, routes_url: str) -> None:
        headers = {"X-Goog-Api-Key": key}
        self._places = MapClient("Google Places", places_url, tracer, headers)
        self._routes = MapClient("Google Routes", routes_url, tracer, headers)

    async def search(self, query: str, near: Position, radius_m: float) -> list[Place]:
        """Text Search for a query, Nearby Search for none: that one knows types only."""
        circle = _circle(near, radius_m)
        if query.strip():
            body = {"textQuery": query, "locationBias": circle, "pageSize": MAX_RESULTS, "rankPreference": "DISTANCE"}
            return await self._ask("searchText", body)
        body = {"locationRestriction": circle, "maxResultCount": MAX_RESULTS, "rankPreference": "DISTANCE"}
        return await self._ask("searchNearby", body)

    async def find(self, name: str, near: Position) -> Place | None:
        """The most relevant place of that name around here."""
        body = {"textQuery": name, "locationBias": _circle(near, MAX_RADIUS_M), "pageSize": 1}
        found = await self._ask("searchText", body)
        return found[0] if found else None

    async def route(self, start: Position, end: Position, mode: Mode) -> Route | None:
        """The way that Google would take."""
        body = {"origin": _waypoint(start), "destination": _waypoint(end), "travelMode": TRAVEL_MODES[mode]}
        told = await self._routes.post("/directions/v2:computeRoutes", body, {"X-Goog-FieldMask": ROUTE_FIELDS})
        try:
            routes = told.get("routes", [])
            # Zeros are left out: the distance to where one is already has no field.
            return (
                Route(float(routes[0].get("distanceMeters", 0)), _seconds(routes[0]["duration"]) / 60)
                if routes
                else None
            )
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise PlacesError("Google Routes answers with something else than a route") from error

    async def close(self) -> None:
        """Let go of connections."""
        await self._places.close()
        await self._routes.close()

    async def _ask(self, method: str, body: dict[str, object]) -> list[Place]:
        told = await self._places.post(f"/v1/places:{method}", body, {"X-Goog-FieldMask": PLACE_FIELDS})
        try:
            return [_place(place) for place in told.get("places", [])]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise PlacesError("Google Places answers with something else than places") from error


def _place(told: dict[str, Any]) -> Place:
    where = told["location"]
    return Place(
        str(told["displayName"]["text"]),
        str(told.get("formattedAddress", "")),
        Position(float(where["latitude"]), float(where["longitude"])),
        tuple(str(kind) for kind in told.get("types", ())),
    )


def _circle(centre: Position, radius_m: float) -> dict[str, object]:
    return {"circle": {"center": _lat_lng(centre), "radius": min(radius_m, MAX_RADIUS_M)}}


def _waypoint(position: Position) -> dict[str, object]:
    return {"location": {"latLng": _lat_lng(position)}}


def _lat_lng(position: Position) -> dict[str, float]:
    return {"latitude": position.lat, "longitude": position.lon}


def _seconds(duration: str) -> float:
    """A protobuf Duration in JSON, such as `165s`."""
    return float(duration.removesuffix("s"))
