"""Maps asked over HTTP: requests and answers as their documentation has them, and the spans that tell of them.

Google: https://developers.google.com/maps/documentation/places/web-service/text-search and
https://developers.google.com/maps/documentation/routes/reference/rest/v2/TopLevel/computeRoutes; Photon:
https://github.com/komoot/photon; OSRM: https://project-osrm.org/docs/v5.24.0/api/.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from support.http_server import HttpServer, Request, Response
from support.telling import Recorder
from voicespan.events import ToolOutcome
from voicespan_server import tools
from voicespan_server.places import HERE, provider_of
from voicespan_server.settings import Settings, SettingsError, load_settings
from voicespan_server.tools import Toolbox, ToolEnd

KEY = "AIza-maps"

GOOGLE_PLACES = {
    "places": [
        {
            "types": ["cafe", "food"],
            "formattedAddress": "Keskuskatu 3, 00100 Helsinki, Finland",
            "location": {"latitude": 60.1686, "longitude": 24.9429},
            "displayName": {"text": "Fazer Café", "languageCode": "fi"},
        },
        {
            "formattedAddress": "Far away",
            "location": {"latitude": 60.3, "longitude": 24.9429},
            "displayName": {"text": "Beyond the radius", "languageCode": "en"},
        },
        {
            "location": {"latitude": 60.1709, "longitude": 24.9415},
            "displayName": {"text": "Station Café", "languageCode": "en"},
        },
    ]
}
GOOGLE_ROUTE = {"routes": [{"distanceMeters": 412, "duration": "331s"}]}
PHOTON_PLACES = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [24.9429, 60.1686]},
            "properties": {
                "osm_type": "N",
                "osm_id": 1,
                "osm_key": "amenity",
                "osm_value": "cafe",
                "name": "Fazer Café",
                "street": "Keskuskatu",
                "housenumber": "3",
                "city": "Helsinki",
                "country": "Finland",
            },
        },
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [24.9415, 60.1709]},
            "properties": {"osm_key": "highway", "osm_value": "residential"},
        },
    ],
}
OSRM_ROUTE = {
    "code": "Ok",
    "routes": [{"distance": 412.3, "duration": 331.0, "weight": 331.0, "legs": []}],
    "waypoints": [],
}


class Maps:
    """All four services on one port; each answer can be replaced."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.answers: dict[str, Response] = {
            "/v1/places:searchText": answer(GOOGLE_PLACES),
            "/v1/places:searchNearby": answer(GOOGLE_PLACES),
            "/directions/v2:computeRoutes": answer(GOOGLE_ROUTE),
            "/api": answer(PHOTON_PLACES),
            "/route/v1": answer(OSRM_ROUTE),
        }

    def respond(self, request: Request) -> Response:
        self.asked.append(request)
        path = urlsplit(request.path).path
        return next((told for known, told in self.answers.items() if path.startswith(known)), Response(404))


def answer(body: object, status: int = 200) -> Response:
    return Response(status, json.dumps(body).encode())


@pytest.fixture
def maps() -> Maps:
    return Maps()


@pytest.fixture
def address(maps: Maps) -> Iterator[str]:
    with HttpServer(maps.respond) as server:
        yield server.url


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def toolbox(places: str, address: str, recorder: Recorder) -> Toolbox:
    settings = Settings(
        places=places,  # type: ignore[arg-type]
        GOOGLE_MAPS_API_KEY=KEY,  # type: ignore[call-arg,arg-type]
        google_places_url=address,
        google_routes_url=address,
        photon_url=address,
        osrm_url=f"{address}/" if places == "osm" else "",
    )
    return Toolbox(provider_of(settings, recorder.tracer))


async def ask(box: Toolbox, recorder: Recorder, name: str, **arguments: object) -> ToolEnd:
    """As a call runs a tool: its span is current while the handler runs."""
    span = recorder.tracer.start_span(f"tool-{name}")
    token = otel_context.attach(trace.set_span_in_context(span))
    try:
        return await box.run(name, arguments)
    finally:
        otel_context.detach(token)
        span.end()
        await box.places.close()


def found(end: ToolEnd) -> list[dict[str, Any]]:
    places = end.response["places"]
    assert isinstance(places, list)
    return places


async def test_google_text_search_is_asked_with_key_mask_and_circle(
    maps: Maps, address: str, recorder: Recorder
) -> None:
    end = await ask(toolbox("google", address, recorder), recorder, "search_nearby", query="cafe", radius_m=800)
    [request] = maps.asked
    assert (request.method, request.path) == ("POST", "/v1/places:searchText")
    assert request.headers["x-goog-api-key"] == KEY
    assert "places.location" in request.headers["x-goog-fieldmask"].split(",")
    body = json.loads(request.body)
    assert body["textQuery"] == "cafe"
    assert body["locationBias"]["circle"] == {
        "center": {"latitude": HERE.lat, "longitude": HERE.lon},
        "radius": 800,
    }
    assert [place["name"] for place in found(end)] == ["Station Café", "Fazer Café"]
    assert found(end)[1]["distance_m"] == pytest.approx(280, abs=10)
    assert found(end)[1]["direction"] == "south"
    assert end.response["source"] == "Google Maps"


async def test_google_nearby_search_is_asked_where_there_is_no_query(
    maps: Maps, address: str, recorder: Recorder
) -> None:
    await ask(toolbox("google", address, recorder), recorder, "search_nearby", query="", radius_m=300)
    [request] = maps.asked
    assert request.path == "/v1/places:searchNearby"
    assert json.loads(request.body)["locationRestriction"]["circle"]["radius"] == 300


async def test_google_finds_a_place_and_its_way(maps: Maps, address: str, recorder: Recorder) -> None:
    box = toolbox("google", address, recorder)
    end = await ask(box, recorder, "navigate_to_location", destination="Fazer", mode="bike")
    assert [request.path for request in maps.asked] == ["/v1/places:searchText", "/directions/v2:computeRoutes"]
    body = json.loads(maps.asked[1].body)
    assert body["travelMode"] == "BICYCLE"
    assert body["origin"]["location"]["latLng"] == {"latitude": HERE.lat, "longitude": HERE.lon}
    assert maps.asked[1].headers["x-goog-fieldmask"] == "routes.duration,routes.distanceMeters"
    assert (end.response["route_m"], end.response["minutes"], end.response["estimated"]) == (412, 6, False)


async def test_photon_is_asked_around_here_and_osrm_on_foot(maps: Maps, address: str, recorder: Recorder) -> None:
    end = await ask(toolbox("osm", address, recorder), recorder, "navigate_to_location", destination="Fazer")
    place, way = maps.asked
    query = parse_qs(urlsplit(place.path).query)
    assert query["q"] == ["Fazer"]
    assert (float(query["lat"][0]), float(query["lon"][0])) == (HERE.lat, HERE.lon)
    assert place.headers["user-agent"].startswith("voicespan/")
    # Longitude first, as OSRM has it.
    assert urlsplit(way.path).path == "/route/v1/foot/24.941400,60.171000;24.942900,60.168600"
    assert end.response["address"] == "Keskuskatu 3, Helsinki"
    assert (end.response["route_m"], end.response["walking_minutes"]) == (412, 6)
    assert end.response["source"] == "© OpenStreetMap contributors"


async def test_photon_is_asked_within_a_box_and_what_has_no_name_is_left_out(
    maps: Maps, address: str, recorder: Recorder
) -> None:
    end = await ask(toolbox("osm", address, recorder), recorder, "search_nearby", query="cafe", radius_m=1000)
    [request] = maps.asked
    west, south, east, north = map(float, parse_qs(urlsplit(request.path).query)["bbox"][0].split(","))
    assert west < HERE.lon < east
    assert south < HERE.lat < north
    assert (north - south) * 111_320 == pytest.approx(2000, rel=0.01)
    assert [place["name"] for place in found(end)] == ["Fazer Café"]


@pytest.mark.parametrize("places", ["google", "osm"])
async def test_each_request_is_a_client_span_under_its_tool(
    maps: Maps, address: str, recorder: Recorder, places: str
) -> None:
    await ask(toolbox(places, address, recorder), recorder, "navigate_to_location", destination="Secret address")
    *requests, tool = recorder.finished_spans()
    assert len(requests) == 2
    for span, request in zip(requests, maps.asked, strict=True):
        assert span.kind is SpanKind.CLIENT
        assert span.parent is not None
        assert span.parent.span_id == tool.context.span_id
        assert span.attributes is not None
        assert span.attributes["http.request.method"] == request.method
        assert span.attributes["http.response.status_code"] == 200
        assert span.attributes["server.address"] == "127.0.0.1"
        assert f"http://127.0.0.1:{span.attributes['server.port']}" == address
        assert str(span.attributes["url.full"]).startswith(address)
        assert span.name == f"{request.method} {span.attributes['url.template']}"
        # Where somebody is and where they go is content; a key is nobody's.
        told = str(span.attributes)
        assert not any(secret in told for secret in ("Secret", "24.94", "60.17", KEY))


async def test_a_maps_password_is_sent_and_not_told(maps: Maps, address: str, recorder: Recorder) -> None:
    box = toolbox("osm", address.replace("http://", "http://me:canary@"), recorder)
    await ask(box, recorder, "search_nearby", query="cafe")
    [asked] = maps.asked
    assert asked.headers["authorization"] == "Basic bWU6Y2FuYXJ5"
    span, _ = recorder.finished_spans()
    assert span.attributes is not None
    assert str(span.attributes["url.full"]).startswith("http://REDACTED:REDACTED@127.0.0.1:")
    assert "canary" not in str(span.attributes)


@pytest.mark.parametrize(
    ("places", "path", "response", "told", "error_type"),
    [
        (
            "google",
            "/v1/places:searchText",
            answer({"error": {"code": 403, "message": "Places API has not been used", "status": "X"}}, 403),
            "Google Places answers HTTP 403: Places API has not been used",
            "403",
        ),
        ("google", "/v1/places:searchText", answer({"places": [{"location": 3}]}), "something else than places", None),
        ("osm", "/api", Response(502, b"<html>"), "Photon answers HTTP 502: no reason given", "502"),
        ("osm", "/api", Response(200, b"<html>"), "no JSON", "JSONDecodeError"),
        ("osm", "/api", answer([]), "something else than places", None),
    ],
)
async def test_what_a_map_does_wrong_is_told_to_the_model(  # noqa: PLR0917 - pytest passes by name
    maps: Maps,
    address: str,
    recorder: Recorder,
    places: str,
    path: str,
    response: Response,
    told: str,
    error_type: str | None,
) -> None:
    maps.answers[path] = response
    end = await ask(toolbox(places, address, recorder), recorder, "search_nearby", query="cafe")
    assert end.outcome is ToolOutcome.ERROR
    assert told in str(end.error)
    span = recorder.finished_spans()[0]
    assert (span.attributes or {}).get("error.type") == error_type
    assert span.status.status_code is (StatusCode.ERROR if error_type else StatusCode.UNSET)


async def test_no_place_of_that_name_is_an_answer_too(maps: Maps, address: str, recorder: Recorder) -> None:
    maps.answers["/v1/places:searchText"] = answer({})
    end = await ask(toolbox("google", address, recorder), recorder, "navigate_to_location", destination="Atlantis")
    assert end.error == "no place called 'Atlantis' is known"


async def test_a_place_without_a_way_is_told_with_an_estimate(maps: Maps, address: str, recorder: Recorder) -> None:
    maps.answers["/route/v1"] = answer({"code": "NoRoute", "message": "Impossible route between points"}, 400)
    end = await ask(toolbox("osm", address, recorder), recorder, "navigate_to_location", destination="Fazer")
    assert end.outcome is ToolOutcome.OK
    assert end.response["estimated"] is True
    assert end.response["route_error"] == "OSRM answers HTTP 400: Impossible route between points"


async def test_a_map_that_does_not_answer_is_given_up_before_the_tool_is(
    monkeypatch: pytest.MonkeyPatch, recorder: Recorder
) -> None:
    import socket

    from voicespan_server.places import http

    monkeypatch.setattr(http, "TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        box = toolbox("osm", f"http://127.0.0.1:{silent.getsockname()[1]}", recorder)
        end = await ask(box, recorder, "search_nearby", query="cafe")
    assert end.error == "search_nearby failed: Photon did not answer within 0.05 s"
    assert (recorder.finished_spans()[0].attributes or {})["error.type"] in {"TimeoutError", "ReadTimeout"}


async def test_a_map_that_is_not_there_is_told(recorder: Recorder) -> None:
    end = await ask(toolbox("google", "http://127.0.0.1:1", recorder), recorder, "search_nearby", query="cafe")
    assert end.error == "search_nearby failed: Google Places cannot be reached"
    assert (recorder.finished_spans()[0].attributes or {})["error.type"] == "ConnectError"


def test_googles_map_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_MAPS_API_KEY", raising=False)
    with pytest.raises(SettingsError, match="GOOGLE_MAPS_API_KEY"):
        load_settings(places="google")


def test_the_tools_time_holds_two_requests() -> None:
    from voicespan_server.places import http

    assert all(tool.timeout_s > 2 * http.TIMEOUT_S for tool in tools.TOOLS.values())
