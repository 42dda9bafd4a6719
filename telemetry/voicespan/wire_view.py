"""Gemini's wire JSON, read as google-genai's message of it: by attribute, whatever the case of its keys.

Google's own clients mix camelCase and snake_case within one message, so either is found.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

# Where google-genai's name is not the wire's, or not Vertex's.
_ALSO = {
    "voice_activity_type": ("type",),
    "response_token_count": ("candidatesTokenCount", "candidates_token_count"),
    "response_tokens_details": ("candidatesTokensDetails", "candidates_tokens_details"),
}
# What is used as text wherever it goes: anything else is another shape, and not for long spans to come upon.
_TEXTS = frozenset({"text", "name", "id", "mime_type", "role"})
# A program's own JSON, which is nobody's message.
_OPAQUE = frozenset({"args", "response"})
_STANDARD = bytes.maketrans(b"-_", b"+/")


class Named(str):
    """A value of an enumeration; its name is its `value`, as in google-genai."""

    __slots__ = ()

    @property
    def value(self) -> str:
        """The name."""
        return str(self)


class View:
    """A JSON object. What it does not hold is None, as in a message that lacks it."""

    __slots__ = ("_json",)

    def __init__(self, json: Mapping[str, Any]) -> None:
        self._json = json

    def __getattr__(self, name: str) -> Any:
        for key in _keys(name):
            if key in self._json:
                return _value(name, self._json[key])
        return None


def view(value: Any) -> Any:
    """A dict, or a list with dicts in it, as views; anything else, such as google-genai's own types, as it is."""
    if isinstance(value, Mapping):
        return View(value)
    if isinstance(value, (list, tuple)):
        return [view(item) for item in value]
    return value


@lru_cache(maxsize=256)
def _keys(name: str) -> tuple[str, ...]:
    head, *tail = name.split("_")
    return (head + "".join(word.capitalize() for word in tail), name, *_ALSO.get(name, ()))


def _value(name: str, value: Any) -> Any:
    if name in _OPAQUE:
        return value
    if name in _TEXTS and value is not None and not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    if name == "data" and isinstance(value, str):
        return _decoded(value)
    # Of one of google-genai's enumerations the value, where `str` would take the name of the class along.
    return Named(str.__str__(value)) if isinstance(value, str) else view(value)


def _decoded(text: str) -> bytes:
    """Base64 in either alphabet, with or without padding: google-genai sends one, Google the other."""
    known = text.encode().translate(_STANDARD).rstrip(b"=")
    return base64.b64decode(known + b"=" * (-len(known) % 4))
