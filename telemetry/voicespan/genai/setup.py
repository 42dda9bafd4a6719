"""What a program asks of a Live session, as far as its telemetry needs to know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import urlsplit

from google.genai import types

from voicespan import conventions as c
from voicespan.attributes import Model
from voicespan.cost import bare_name, prices_of
from voicespan.gemini_sent import text_of
from voicespan.wire_view import view


class ApiClient(Protocol):
    """What google-genai's modules share of their client."""

    @property
    def vertexai(self) -> bool | None: ...  # noqa: D102
    @property
    def _http_options(self) -> types.HttpOptions: ...


@dataclass(frozen=True, slots=True)
class Setup:
    """The parts of a session's configuration that decide how it is told."""

    handle: str | None = None
    resumable: bool = False
    instructions: str = ""
    non_blocking: frozenset[str] = frozenset()
    seeds_history: bool = False
    base_url: str | None = None


_NOTHING_SAID = Setup()


def setup_of(config: object) -> Setup:
    """Reads a LiveConnectConfig or its dict; one that google-genai will refuse says nothing.

    A dict is read as it is: to validate it would take what an iterator in it has to give, before google-genai does.
    """
    if not isinstance(config, (dict, types.LiveConnectConfig)):
        return _NOTHING_SAID
    asked = view(config)
    try:
        resumption, history, options = asked.session_resumption, asked.history_config, asked.http_options
        return Setup(
            handle=resumption.handle if resumption else None,
            resumable=resumption is not None,
            instructions=text_of(asked.system_instruction),
            non_blocking=frozenset(_non_blocking(asked.tools)),
            seeds_history=bool(history and history.initial_history_in_client_content),
            base_url=options.base_url if options else None,
        )
    except (AttributeError, TypeError):
        return _NOTHING_SAID


def model_of(name: str, client: ApiClient, base_url: str | None) -> Model:
    """The model and where it is served."""
    provider = c.PROVIDER_VERTEX if client.vertexai else c.PROVIDER_GEMINI
    return _model(name, provider, base_url or client._http_options.base_url or "", datetime.now(UTC).date())


@lru_cache(maxsize=16)
def _model(name: str, provider: str, base_url: str, on: date) -> Model:
    """One for all sessions of a day."""
    address = urlsplit(base_url)
    return Model(bare_name(name), provider, address.hostname, address.port or 443, prices_of(name, on))


def _non_blocking(tools: object) -> Iterable[str]:
    for tool in _listed(tools):  # functions and MCP sessions may be among them
        for function in _listed(getattr(tool, "function_declarations", None)):
            if function.behavior == types.Behavior.NON_BLOCKING and function.name:
                yield function.name


def _listed(value: object) -> Iterable[Any]:
    return value if isinstance(value, (list, tuple)) else ()
