"""The tools: declared from their arguments, answered whatever happens."""

import asyncio
from collections.abc import Mapping

import pytest

from voicespan.events import ToolOutcome
from voicespan_server import places, tools


def test_declarations_are_derived_from_the_arguments() -> None:
    declared = {d.name: d for d in tools.declarations().function_declarations or ()}
    assert set(declared) == {"search_nearby", "navigate_to_location"}
    schema = declared["navigate_to_location"].parameters_json_schema
    assert schema["required"] == ["destination"]
    assert schema["properties"]["mode"]["enum"] == ["walk", "bike", "car"]


async def test_search_finds_the_nearest_first() -> None:
    end = await tools.run_tool("search_nearby", {"query": "cafe", "radius_m": 800})
    assert end.outcome is ToolOutcome.OK
    found = end.response["places"]
    assert isinstance(found, list)
    distances = [place["distance_m"] for place in found]
    assert distances == sorted(distances)
    assert all(distance <= 800 for distance in distances)
    assert "Fazer Cafe" in {place["name"] for place in found}


@pytest.mark.parametrize("asked", ["Helsinki Cathedral", "the helsinki cathedral", "Helsinki Cathedral, please"])
async def test_navigation_finds_a_place_by_its_name(asked: str) -> None:
    end = await tools.run_tool("navigate_to_location", {"destination": asked})
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
    end = await tools.run_tool(name, arguments)
    assert end.outcome is ToolOutcome.ERROR
    assert told in str(end.error)
    assert "error" in end.response


async def test_a_tool_that_hangs_is_timed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_: tools.NearbyArguments) -> tools.Result:
        await asyncio.Event().wait()
        return {}

    slow = tools.Tool("search_nearby", "", tools.NearbyArguments, hang, timeout_s=0.01)
    monkeypatch.setattr(tools, "TOOLS", {"search_nearby": slow})
    end = await tools.run_tool("search_nearby", {"query": "x"})
    assert end.outcome is ToolOutcome.TIMEOUT


async def test_a_tool_that_raises_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: tools.NearbyArguments) -> tools.Result:
        raise RuntimeError("out of maps")

    broken = tools.Tool("search_nearby", "", tools.NearbyArguments, fail)
    monkeypatch.setattr(tools, "TOOLS", {"search_nearby": broken})
    end = await tools.run_tool("search_nearby", {"query": "x"})
    assert end.error == "search_nearby failed: RuntimeError: out of maps"


def test_some_thirty_places_within_walking_distance() -> None:
    assert len(places.all_places()) >= 30
    assert all(places.HERE.distance_m(place.position) < 3_000 for place in places.all_places())
    assert len({place.name for place in places.all_places()}) == len(places.all_places())
