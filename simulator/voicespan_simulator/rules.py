"""Answers to typed words by rule: enough to show both tools, and no claim to understand more."""

import re
from collections.abc import Collection, Sequence

from voicespan_simulator.scenario import FunctionCall
from voicespan_simulator.wire_json import JsonObject, JsonValue, pick

SEARCH = "search_nearby"
NAVIGATE = "navigate_to_location"

HELP = (
    "I am a simulator and work by simple rules. "
    'Ask me for something near you, like "Is there a cafe near here?", or say "Take me to the cathedral."'
)
FAILED = "I am sorry, that did not work."
_DONE = "That is done."

_DEFAULT_RADIUS_M = 800
_PLACES = (
    "cafe|coffee|restaurant|pharmacy|hotel|museum|supermarket|bakery|bank|atm|bar|park|hospital|library|"
    "parking|petrol station|gas station|charging station|station|shop|cinema|toilet|market"
)
_PLACE = re.compile(rf"\b({_PLACES})s?\b", re.IGNORECASE)
_SEARCH = re.compile(r"\b(near|nearby|nearest|closest|around here|find|search|look for|looking for)\b", re.IGNORECASE)
_SOUGHT = re.compile(
    r"\b(?:find(?: me)?|search for|look(?:ing)? for|nearest|closest)\s+(?:an?\s+|the\s+|some\s+)?"
    r"(.+?)(?:\s+(?:near|around|close|within|in)\b.*)?[.?!]*$",
    re.IGNORECASE,
)
_RADIUS = re.compile(r"(\d+(?:\.\d+)?)\s*(km|kilomet\w+|m|met\w+)\b", re.IGNORECASE)
_NAVIGATE = re.compile(
    r"\b(?:take me|bring me|navigate(?: me)?|route|directions?|go|way|drive|walk|bike|cycle|get)\s+to\s+(.+)$",
    re.IGNORECASE,
)
_MODES = (
    ("bike", re.compile(r"\b(by bike|bike|by bicycle|cycle|cycling)\b", re.IGNORECASE)),
    ("car", re.compile(r"\b(by car|drive|driving)\b", re.IGNORECASE)),
    ("walk", re.compile(r"\b(on foot|walk|walking)\b", re.IGNORECASE)),
)
_TAIL = re.compile(r"(?:,?\s*\b(?:please|thanks|by bike|by bicycle|by car|on foot))+\s*$", re.IGNORECASE)
_ARTICLE = re.compile(r"^the\s+", re.IGNORECASE)


def call_for(text: str, functions: Collection[str]) -> FunctionCall | None:
    """The call that the words ask for, if it is one of the declared functions."""
    if NAVIGATE in functions and (route := _NAVIGATE.search(text)):
        destination = _ARTICLE.sub("", _TAIL.sub("", route[1].strip(" .?!")).strip(" ,.?!"))
        args: JsonObject = {"destination": destination}
        for mode, pattern in _MODES:
            if pattern.search(text):
                args["mode"] = mode
                break
        return FunctionCall(NAVIGATE, args) if destination else None
    place = _PLACE.search(text)
    if SEARCH in functions and (place or _SEARCH.search(text)):
        sought = _SOUGHT.search(text)
        query = place[1].lower() if place else _TAIL.sub("", sought[1]) if sought else ""
        return FunctionCall(SEARCH, {"query": query, "radius_m": _radius_m(text)}) if query else None
    return None


def _radius_m(text: str) -> int:
    found = _RADIUS.search(text)
    if not found:
        return _DEFAULT_RADIUS_M
    return round(float(found[1]) * (1000 if found[2].lower().startswith("k") else 1))


def failed(result: JsonValue) -> bool:
    """Whether a tool answered with an error."""
    return isinstance(result, dict) and "error" in result


def sentence_about(results: Sequence[JsonValue]) -> str:
    """A sentence from what the tools answered, as far as names, distances and times can be found in it."""
    return " ".join(FAILED if failed(result) else _sentence(result) for result in results) or _DONE


def _sentence(result: JsonValue) -> str:
    for key in ("result", "output", "route"):
        inner = pick(result, key)
        if isinstance(inner, dict | list):
            result = inner
    places = _places(result)
    if places is not None:
        names = [name for place in places if isinstance(name := pick(place, "name"), str)]
        if not names:
            return "I found nothing like that nearby."
        others = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f"I found {', '.join(names[:3])}{others}."
    destination = pick(result, "destination")
    if isinstance(destination, dict):
        destination = pick(destination, "name")
    if isinstance(destination, str):
        return f"The route to {destination} is set{_extent(result)}."
    return _DONE


def _places(result: JsonValue) -> list[JsonValue] | None:
    if isinstance(result, list):
        return result
    for key in ("places", "results", "items"):
        found = pick(result, key)
        if isinstance(found, list):
            return found
    return None


def _extent(result: JsonValue) -> str:
    """How far and how long, in words."""
    parts: list[str] = []
    distance_m = pick(result, "distanceM")
    if isinstance(distance_m, int | float):
        parts.append(f"{distance_m / 1000:.1f} kilometres" if distance_m >= 1000 else f"{distance_m:.0f} metres")
    duration_s = pick(result, "durationS")
    if isinstance(duration_s, int | float):
        minutes = max(1, round(duration_s / 60))
        parts.append("1 minute" if minutes == 1 else f"{minutes} minutes")
    return f": {', '.join(parts)}" if parts else ""
