"""The tools the model may call, in one place: their names, what they take, what they do. Offline.

A tool is an async function of one pydantic model; the declarations that the Live API and generate_content are given
are derived from it, and so is the check of what the model sends.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from google.genai import types
from pydantic import BaseModel, Field, ValidationError

from voicespan.events import ToolOutcome
from voicespan_server import places

Result = dict[str, object]
A = TypeVar("A", bound=BaseModel)

# A walker's detour over the crow's flight, and what people make in an hour.
DETOUR = 1.3
SPEED_M_PER_MIN = {"walk": 80, "bike": 250, "car": 400}


@dataclass(frozen=True, slots=True)
class Tool(Generic[A]):
    """A function the model may call. `run` has `timeout_s` seconds."""

    name: str
    description: str
    arguments: type[A]
    run: Callable[[A], Awaitable[Result]]
    timeout_s: float = 5.0

    def declaration(self) -> types.FunctionDeclaration:
        """What the model is told of it."""
        return types.FunctionDeclaration(
            name=self.name,
            description=self.description,
            parameters_json_schema=self.arguments.model_json_schema(),
        )

    async def call(self, arguments: Mapping[str, object]) -> Result:
        """Check the arguments and run."""
        return await self.run(self.arguments.model_validate(arguments))


@dataclass(frozen=True, slots=True)
class ToolEnd:
    """How a call fared: `response` is what the model is told."""

    outcome: ToolOutcome
    response: Result
    error: str | None = None


class NearbyArguments(BaseModel):
    """What search_nearby takes."""

    query: str = Field(description="What to look for, such as cafe, museum or pharmacy")
    radius_m: int = Field(default=1000, ge=50, le=20_000, description="How far to look, in metres")


class NavigateArguments(BaseModel):
    """What navigate_to_location takes."""

    destination: str = Field(min_length=1, description="The place to go to, by name")
    mode: Literal["walk", "bike", "car"] = Field(default="walk", description="How the person travels")


async def search_nearby(arguments: NearbyArguments) -> Result:
    """Places around the traveller, nearest first."""
    found = places.nearby(arguments.query, arguments.radius_m)
    return {
        "places": [
            {"name": place.name, "address": place.address, "distance_m": round(distance)}
            for place, distance in found[:5]
        ],
        "found": len(found),
    }


async def navigate_to_location(arguments: NavigateArguments) -> Result:
    """Distance, direction and an estimate of the time to a place."""
    place = places.find(arguments.destination)
    if place is None:
        return {"error": f"no place called {arguments.destination!r} is known", "hint": "use search_nearby"}
    distance_m = places.HERE.distance_m(place.position)
    return {
        "destination": place.name,
        "address": place.address,
        "distance_m": round(distance_m),
        "direction": places.HERE.direction(place.position),
        "mode": arguments.mode,
        "estimated_minutes": max(1, round(distance_m * DETOUR / SPEED_M_PER_MIN[arguments.mode])),
        "position": {"lat": place.position.lat, "lon": place.position.lon},
    }


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


def declarations() -> types.Tool:
    """All tools, as google-genai wants them."""
    return types.Tool(function_declarations=[tool.declaration() for tool in TOOLS.values()])


async def run_tool(name: str, arguments: Mapping[str, object]) -> ToolEnd:
    """Run a tool within its time. Never raises but for cancellation: whatever goes wrong, the model is told."""
    tool = TOOLS.get(name)
    if tool is None:
        return _failed(ToolOutcome.ERROR, f"there is no tool called {name!r}, only {', '.join(TOOLS)}")
    try:
        async with asyncio.timeout(tool.timeout_s):
            result = await tool.call(arguments)
        json.dumps(result)  # what cannot be sent must not reach the socket
    except TimeoutError:
        return _failed(ToolOutcome.TIMEOUT, f"{name} did not answer within {tool.timeout_s:g} s")
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        return _failed(ToolOutcome.ERROR, f"wrong arguments for {name}: {faults}")
    except Exception as error:  # noqa: BLE001 - a tool may fail in any way; the model has to be answered
        return _failed(ToolOutcome.ERROR, f"{name} failed: {type(error).__name__}: {error}")
    if "error" in result:
        return ToolEnd(ToolOutcome.ERROR, result, str(result["error"]))
    return ToolEnd(ToolOutcome.OK, result)


def _failed(outcome: ToolOutcome, message: str) -> ToolEnd:
    return ToolEnd(outcome, {"error": message}, message)
