"""The tools: declared from their arguments, answered whatever happens."""

import asyncio
from collections.abc import Mapping

import pytest

from voicespan.events import ToolOutcome
from voicespan_server import tools
from voicespan_server.places import HERE, Position, minutes
from voicespan_server.places.embedded import EmbeddedPlaces, all_places
from voicespan_server.places.provider import Place, PlacesError, PlacesProvider, Route

BOX = tools.Toolbox(EmbeddedPlaces())


def test_declarations_are_derived_from_the_arguments() -> None:
    declared = {d.name: d for d in tools.declarations().function_declarations or ()}
    assert set(declared) == {"search_nearby", "navigate_to_location"}
    schema = declared["navigate_to_location"].parameters_json_schema
    assert schema["required"] == ["destination"]
    assert schema["properties"]["mode"]["enum"] == ["walk", "bike", "car"]


async def test_search_finds_the_nearest_first() -> None:
    end = await BOX.run("search_nearby", {"query": "cafe", "radius_m": 800})
    assert end.outcome is ToolOutcome.OK
    found = end.response["places"]
    assert isinstance(found, list)
    distances = [place["distance_m"] for place in found]
    assert distances == sorted(distances)
    assert all(distance <= 800 for distance in distances)
    assert "Fazer Cafe" in {place["name"] for place in found}


@pytest.mark.parametrize("asked", ["Helsinki Cathedral", "the helsinki cathedral", "Helsinki Cathedral, please"])
async def test_navigation_finds_a_place_by_its_name(asked: str) -> None:
    end = await BOX.run("navigate_to_location", {"destination": asked})
    assert end.response["destination"] == "Helsinki Cathedral"
    assert end.response["direction"] == "east"
    assert end.response["distance_m"] == pytest.approx(600, abs=60)


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("fly", {}, "no tool called 'fly'"),
        ("search_nearby", {}, "query"),
        ("search_nearby", {"query": "cafe", "radius_m": "far"}, "radius_m"),
        ("navigate_to_location", {"destination": "Atlantis"}, "no place called 'Atlantis'"),
    ],
)
async def test_what_goes_wrong_is_an_answer_too(name: str, arguments: Mapping[str, object], told: str) -> None:
    end = await BOX.run(name, arguments)
    assert end.outcome is ToolOutcome.ERROR
    assert told in str(end.error)
    assert "error" in end.response


async def test_a_tool_that_hangs_is_timed_out() -> None:
    async def hang(_: PlacesProvider, __: tools.NearbyArguments) -> tools.Result:
        await asyncio.Event().wait()
        return {}

    slow = tools.Tool("search_nearby", "", tools.NearbyArguments, hang, timeout_s=0.01)
    end = await tools.Toolbox(EmbeddedPlaces(), {"search_nearby": slow}).run("search_nearby", {"query": "x"})
    assert end.outcome is ToolOutcome.TIMEOUT


async def test_a_tool_that_raises_is_an_error() -> None:
    async def fail(_: PlacesProvider, __: tools.NearbyArguments) -> tools.Result:
        raise RuntimeError("out of maps")

    broken = tools.Tool("search_nearby", "", tools.NearbyArguments, fail)
    end = await tools.Toolbox(EmbeddedPlaces(), {"search_nearby": broken}).run("search_nearby", {"query": "x"})
    assert end.error == "search_nearby failed: RuntimeError: out of maps"


def test_some_thirty_places_within_walking_distance() -> None:
    assert len(all_places()) >= 30
    assert all(HERE.distance_m(place.position) < 3_000 for place in all_places())
    assert len({place.name for place in all_places()}) == len(all_places())


@pytest.mark.parametrize(
    ("north_m", "east_m", "bearing_deg", "direction"),
    [
        (1000, 0, 0, "north"),
        (1000, 1000, 45, "north-east"),
        (0, 1000, 90, "east"),
        (-1000, 0, 180, "south"),
        (0, -1000, 270, "west"),
        (1000, -10, 359, "north"),
    ],
)
def test_a_bearing_is_degrees_from_north_and_a_point_of_the_compass(
    north_m: float, east_m: float, bearing_deg: float, direction: str
) -> None:
    there = Position(HERE.lat + north_m / 111_195, HERE.lon + east_m / (111_195 * 0.49739))
    assert HERE.bearing_deg(there) == pytest.approx(bearing_deg, abs=0.6)
    assert HERE.direction(there) == direction


def test_a_walk_of_a_kilometre_takes_a_quarter_of_an_hour_and_none_takes_no_time() -> None:
    assert minutes(1000, "walk") == 16
    assert minutes(0, "car") == 1


async def test_both_tools_tell_distance_bearing_and_walking_time() -> None:
    found = await BOX.run("search_nearby", {"query": "cathedral"})
    gone = await BOX.run("navigate_to_location", {"destination": "Helsinki Cathedral", "mode": "bike"})
    first = found.response["places"][0]  # type: ignore[index]
    for told in (first, gone.response):
        assert told["distance_m"] == pytest.approx(600, abs=60)
        assert told["bearing_deg"] == pytest.approx(97, abs=3)
        assert told["direction"] == "east"
        assert told["walking_minutes"] == 10
    assert (gone.response["minutes"], gone.response["estimated"]) == (3, True)
    assert "route_m" not in gone.response


class Streets(EmbeddedPlaces):
    """A map with one way."""

    attribution = "the surveyor"

    def __init__(self, way: Route | PlacesError) -> None:
        self.way = way

    async def find(self, name: str, near: Position) -> Place | None:
        return Place(name, "Unioninkatu 29", Position(60.1703, 24.9522))

    async def route(self, start: Position, end: Position, mode: str) -> Route | None:
        if isinstance(self.way, PlacesError):
            raise self.way
        return self.way


async def test_a_way_over_streets_counts_more_than_an_estimate() -> None:
    end = await tools.Toolbox(Streets(Route(812.4, 11.2))).run("navigate_to_location", {"destination": "Cathedral"})
    told = end.response
    assert (told["route_m"], told["minutes"], told["walking_minutes"], told["estimated"]) == (812, 11, 11, False)
    assert told["source"] == "the surveyor"


async def test_a_place_without_a_way_is_told_with_an_estimate_and_the_reason() -> None:
    box = tools.Toolbox(Streets(PlacesError("OSRM did not answer within 2 s")))
    end = await box.run("navigate_to_location", {"destination": "Cathedral"})
    assert end.outcome is ToolOutcome.OK
    assert end.response["estimated"] is True
    assert end.response["route_error"] == "OSRM did not answer within 2 s"
