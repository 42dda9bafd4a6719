"""JSON values, read in either key case: google-genai mixes camelCase and snake_case within one message."""

import re
from typing import TypeAlias

JsonValue: TypeAlias = "dict[str, JsonValue] | list[JsonValue] | str | int | float | bool | None"
JsonObject: TypeAlias = dict[str, JsonValue]

_HUMP = re.compile(r"(?<!^)(?=[A-Z])")


def pick(value: JsonValue, *path: str) -> JsonValue:
    """The value under a path of camelCase keys, each also found in snake_case; None where the path ends early."""
    for key in path:
        if not isinstance(value, dict):
            return None
        snake = _HUMP.sub("_", key).lower()
        value = value[key] if key in value else value.get(snake)
    return value


def has(value: JsonValue, key: str) -> bool:
    """Whether the key is there at all: `activityStart: {}` and `inputAudioTranscription: {}` say something."""
    return pick(value, key) is not None


def pick_text(value: JsonValue, *path: str) -> str:
    """As `pick`, an empty string where there is no text."""
    found = pick(value, *path)
    return found if isinstance(found, str) else ""


def pick_list(value: JsonValue, *path: str) -> list[JsonValue]:
    """As `pick`; one object where a list was expected counts as a list of one, as in proto3 JSON parsers."""
    found = pick(value, *path)
    if isinstance(found, list):
        return found
    return [] if found is None else [found]


def pick_object(value: JsonValue, *path: str) -> JsonObject:
    """As `pick`, an empty object where there is none."""
    found = pick(value, *path)
    return found if isinstance(found, dict) else {}
