"""What a program asks of a Live session, as far as its telemetry needs to know."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Protocol
from urllib.parse import urlsplit

from google.genai import types
from pydantic import ValidationError

from voicespan import conventions as c
from voicespan.attributes import Model
from voicespan.cost import bare_name, prices_of
from voicespan.gemini_sent import text_of


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
    """Reads a LiveConnectConfig or its dict; one that google-genai will refuse says nothing."""
    if isinstance(config, dict):
        try:
            config = types.LiveConnectConfig(**config)
        except (ValidationError, TypeError):
            return _NOTHING_SAID
    if not isinstance(config, types.LiveConnectConfig):
        return _NOTHING_SAID
    resumption, history = config.session_resumption, config.history_config
    return Setup(
        handle=resumption.handle if resumption else None,
        resumable=resumption is not None,
        instructions=text_of(config.system_instruction),
        non_blocking=frozenset(_non_blocking(config.tools or ())),
        seeds_history=bool(history and history.initial_history_in_client_content),
        base_url=config.http_options.base_url if config.http_options else None,
    )


def model_of(name: str, client: ApiClient, base_url: str | None) -> Model:
    """The model and where it is served."""
    provider = c.PROVIDER_VERTEX if client.vertexai else c.PROVIDER_GEMINI
    return _model(name, provider, base_url or client._http_options.base_url or "", datetime.now(UTC).date())


@lru_cache(maxsize=16)
def _model(name: str, provider: str, base_url: str, on: date) -> Model:
    """One for all sessions of a day."""
    address = urlsplit(base_url)
    return Model(bare_name(name), provider, address.hostname, address.port or 443, prices_of(name, on))


def _non_blocking(tools: Iterable[types.Tool | Callable[..., object] | object]) -> Iterable[str]:
    for tool in tools:
        for function in (tool.function_declarations if isinstance(tool, types.Tool) else None) or ():
            if function.behavior == types.Behavior.NON_BLOCKING and function.name:
                yield function.name
