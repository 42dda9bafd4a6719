"""Programs on google-genai's Live API, instrumented, over sockets that are not there (support.fake_live)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from google.genai import errors, types
from google.genai.live import AsyncSession
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from support.fake_live import ANSWER, MODEL, Wire, client
from support.telling import Recorder
from voicespan.instrumentor import GeminiLiveInstrumentor

PCM = b"\x10\x27" * 320

Instrument = Callable[..., GeminiLiveInstrumentor]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def instrument(recorder: Recorder) -> Iterator[Instrument]:
    """Instruments google-genai until the test ends; what it tells goes to `recorder`."""
    instrumentor = GeminiLiveInstrumentor()

    def begin(**changes: Any) -> GeminiLiveInstrumentor:
        known: dict[str, Any] = {
            "tracer_provider": recorder.provider,
            "meter_provider": recorder.meter_provider,
            "logger_provider": recorder.logger_provider,
        }
        instrumentor.instrument(**(known | changes))
        return instrumentor

    yield begin
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


async def answer(session: AsyncSession) -> list[types.LiveServerMessage]:
    return [message async for message in session.receive()]


async def talk(wire: Wire, *, config: Any = None, vertex: bool = False) -> list[types.LiveServerMessage]:
    """A call of one spoken turn."""
    async with client(vertex=vertex).aio.live.connect(model=MODEL, config=config) as session:
        wire.last.push(*ANSWER)
        await session.send_realtime_input(audio=types.Blob(data=PCM, mime_type="audio/pcm;rate=16000"))
        return await answer(session)


async def lose(wire: Wire, *messages: Any, config: Any = None) -> None:
    """A call that the service cuts behind some messages."""
    async with client().aio.live.connect(model=MODEL, config=config) as session:
        wire.last.push(*messages)
        wire.last.drop(1011, "unavailable")
        with suppress(errors.APIError):
            while True:
                await answer(session)


class OnEnd(SpanProcessor):
    """Tells when a span of some name has ended."""

    def __init__(self, name: str, tell: Callable[[], None]) -> None:
        self._name = name
        self._tell = tell

    def on_end(self, span: ReadableSpan) -> None:
        if span.name == self._name:
            self._tell()
