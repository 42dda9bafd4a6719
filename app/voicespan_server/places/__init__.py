"""Maps that the tools look at: an embedded one by default, Google's or OpenStreetMap's by setting."""

from __future__ import annotations

from opentelemetry.trace import Tracer

from voicespan_server.places.embedded import EmbeddedPlaces
from voicespan_server.places.geo import Mode, Position, minutes
from voicespan_server.places.google import GooglePlaces
from voicespan_server.places.osm import OsmPlaces
from voicespan_server.places.provider import Place, PlacesError, PlacesProvider, Route
from voicespan_server.settings import Settings

__all__ = ["HERE", "Mode", "Place", "PlacesError", "PlacesProvider", "Position", "Route", "minutes", "provider_of"]

# Where the traveller is: Helsinki Central Station.
HERE = Position(60.1710, 24.9414)


def provider_of(settings: Settings, tracer: Tracer) -> PlacesProvider:
    """The map that the settings name. Asks nobody yet."""
    match settings.places:
        case "google":
            key = settings.google_maps_api_key.get_secret_value() if settings.google_maps_api_key else ""
            return GooglePlaces(
                key, tracer, places_url=settings.google_places_url, routes_url=settings.google_routes_url
            )
        case "osm":
            return OsmPlaces(tracer, photon_url=settings.photon_url, osrm_url=settings.osrm_url)
        case _:
            return EmbeddedPlaces()
