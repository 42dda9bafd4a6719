"""The tools the model may call, in one place: their names, what they take, what they do.

A tool is an async function of a map and one pydantic model; the declarations that the Live API and generate_content
are given are derived from it, and so is the check of what the model sends.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

from google.genai import types
from pydantic import BaseModel, Field, ValidationError

from voicespan.events import ToolOutcome
from voicespan_server.places import HERE, Mode, Place, PlacesError, PlacesProvider, minutes

Result = dict[str, object]
A = TypeVar("A", bound=BaseModel)

MAX_PLACES = 5


@dataclass(frozen=True, slots=True)
class Tool(Generic[A]):
    """A function the model may call. `run` has `timeout_s` seconds."""

    name: str
    description: str
    arguments: type[A]
    run: Callable[[PlacesProvider, A], Awaitable[Result]]
    timeout_s: float = 5.0

    def declaration(self) -> types.FunctionDeclaration:
        """What the model is told of it."""
        return types.FunctionDeclaration(
            name=self.name,
            description=self.description,
            parameters_json_schema=self.arguments.model_json_schema(),
        )

    async def call(self, places: PlacesProvider, arguments: Mapping[str, object]) -> Result:
        """Check the arguments and run."""
        return await self.run(places, self.arguments.model_validate(arguments))


@dataclass(frozen=True, slots=True)
class ToolEnd:
    """How a call fared: `response` is what the model is told."""

    outcome: ToolOutcome
    response: Result
    error: str | None = None


class NearbyArguments(BaseModel):
    """What search_nearby takes."""

    query: str = Field(max_length=200, description="What to look for, such as cafe, museum or pharmacy")
    radius_m: int = Field(default=1000, ge=50, le=20_000, description="How far to look, in metres")


class NavigateArguments(BaseModel):
    """What navigate_to_location takes."""

    destination: str = Field(min_length=1, max_length=200, description="The place to go to, by name")
    mode: Mode = Field(default="walk", description="How the person travels")


async def search_nearby(places: PlacesProvider, arguments: NearbyArguments) -> Result:
    """Places around the traveller, nearest first, as the crow flies; how long a walk takes is estimated from that."""
    found = [
        (place, distance_m)
        for place in await places.search(arguments.query, HERE, arguments.radius_m)
        if (distance_m := HERE.distance_m(place.position)) <= arguments.radius_m
    ]
    found.sort(key=lambda pair: pair[1])
    return {
        "places": [
            {"name": place.name, "address": place.address, **_whereabouts(place)} for place, _ in found[:MAX_PLACES]
        ],
        "found": len(found),
        **_credit(places),
    }


async def navigate_to_location(places: PlacesProvider, arguments: NavigateArguments) -> Result:
    """How far a place is, in which direction, and how long the way takes: by streets where the map has them."""
    place = await places.find(arguments.destination, HERE)
    if place is None:
        return {"error": f"no place called {arguments.destination!r} is known", "hint": "use search_nearby"}
    try:
        route = await places.route(HERE, place.position, arguments.mode)
        unknown = {}
    except PlacesError as error:
        route, unknown = None, {"route_error": str(error)}
    whereabouts = _whereabouts(place)
    if route is None:
        way = {"minutes": minutes(HERE.distance_m(place.position), arguments.mode), "estimated": True}
    else:
        way = {"minutes": max(1, round(route.minutes)), "estimated": False, "route_m": round(route.distance_m)}
        if arguments.mode == "walk":
            whereabouts["walking_minutes"] = way["minutes"]
    return {
        "destination": place.name,
        "address": place.address,
        **whereabouts,
        "mode": arguments.mode,
        **way,
        **unknown,
        "position": {"lat": place.position.lat, "lon": place.position.lon},
        **_credit(places),
    }


def _whereabouts(place: Place) -> dict[str, object]:
    """From where the traveller is, as the crow flies."""
    distance_m = HERE.distance_m(place.position)
    return {
        "distance_m": round(distance_m),
        "bearing_deg": round(HERE.bearing_deg(place.position)) % 360,
        "direction": HERE.direction(place.position),
        "walking_minutes": minutes(distance_m, "walk"),
    }


def _credit(places: PlacesProvider) -> dict[str, object]:
    return {"source": places.attribution} if places.attribution else {}


TOOLS: Mapping[str, Tool[NearbyArguments] | Tool[NavigateArguments]] = {
    "search_nearby": Tool(
        "search_nearby", "Find places near the person, nearest first.", NearbyArguments, search_nearby
    ),
    "navigate_to_location": Tool(
        "navigate_to_location",
        "Start the way to a place: tells how far it is, in which direction, and how long it takes.",
        NavigateArguments,
        navigate_to_location,
    ),
}


@cache
def declarations() -> types.Tool:
    """All tools, as google-genai wants them. One object for all calls: a call keeps its setup as long as it lasts."""
    return types.Tool(function_declarations=[tool.declaration() for tool in TOOLS.values()])


class Toolbox:
    """The tools over one map."""

    def __init__(
        self,
        places: PlacesProvider,
        tools: Mapping[str, Tool[NearbyArguments] | Tool[NavigateArguments]] = TOOLS,
    ) -> None:
        self.places = places
        self._tools = tools

    async def run(self, name: str, arguments: Mapping[str, object]) -> ToolEnd:
        """Run a tool within its time. Never raises but for cancellation: whatever goes wrong, the model is told."""
        tool = self._tools.get(name)
        if tool is None:
            return _failed(ToolOutcome.ERROR, f"there is no tool called {name!r}, only {', '.join(self._tools)}")
        try:
            async with asyncio.timeout(tool.timeout_s):
                result = await tool.call(self.places, arguments)
            json.dumps(result)  # what cannot be sent must not reach the socket
        except TimeoutError:
            return _failed(ToolOutcome.TIMEOUT, f"{name} did not answer within {tool.timeout_s:g} s")
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
            return _failed(ToolOutcome.ERROR, f"wrong arguments for {name}: {faults}")
        except PlacesError as error:
            return _failed(ToolOutcome.ERROR, f"{name} failed: {error}")
        except Exception as error:  # noqa: BLE001 - a tool may fail in any way; the model has to be answered
            return _failed(ToolOutcome.ERROR, f"{name} failed: {type(error).__name__}: {error}")
        if "error" in result:
            return ToolEnd(ToolOutcome.ERROR, result, str(result["error"]))
        return ToolEnd(ToolOutcome.OK, result)


def _failed(outcome: ToolOutcome, message: str) -> ToolEnd:
    return ToolEnd(outcome, {"error": message}, message)
