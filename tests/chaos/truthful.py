"""The voice server with a witness: as spans end, and before the store hears of it, their ids go to a file.

What is in that file and never arrives was lost. `VOICESPAN_TRUTH` names it; `VOICESPAN_LATENESS` another for how late
the event loop was. Run as `python -m chaos.truthful serve ...`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span

from voicespan.sdk.processors import StoreProcessor
from voicespan.sdk.store import Store
from voicespan.sdk.writer import Work
from voicespan_server import app as server_app
from voicespan_server import cli

PROBE_EVERY_S = 0.005


def _witness(path: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    on_start, on_end, insert = StoreProcessor.on_start, StoreProcessor.on_end, Store._insert

    def note(kind: str, span: ReadableSpan) -> None:
        if span.context and span.context.trace_flags.sampled:
            ids = f"{span.context.trace_id:032x} {span.context.span_id:016x}"
            os.write(descriptor, f"{kind} {ids} {time.time_ns()} {span.name}\n".encode())

    def started(self: StoreProcessor, span: Span, parent_context: Context | None = None) -> None:
        note("start", span)
        on_start(self, span, parent_context)

    def ended(self: StoreProcessor, span: ReadableSpan) -> None:
        note("end", span)
        on_end(self, span)

    def inserted(self: Store, work: Work) -> None:
        insert(self, work)
        now_ns = time.time_ns()
        lines = (f"kept {r.trace_id} {r.span_id} {now_ns} {r.name}\n" for r in work.records if r.signal == "traces")
        os.write(descriptor, "".join(lines).encode())

    StoreProcessor.on_start, StoreProcessor.on_end = started, ended  # type: ignore[method-assign]
    Store._insert = inserted  # type: ignore[method-assign]


async def _probe(lateness_ns: list[int]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + PROBE_EVERY_S
        await asyncio.sleep(PROBE_EVERY_S)
        lateness_ns.append(round((loop.time() - due) * 1e9))


def create_app() -> FastAPI:
    """The server's application, with the event loop watched."""
    app = server_app.create_app()
    path = os.environ.get("VOICESPAN_LATENESS")
    if path is None:
        return app
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        lateness_ns: list[int] = []
        async with inner(application):
            probing = asyncio.create_task(_probe(lateness_ns))
            yield
            probing.cancel()
            with Path(path).open("a") as file:  # noqa: ASYNC230 - the server ends here
                file.writelines(f"{late}\n" for late in lateness_ns)

    app.router.lifespan_context = lifespan
    return app


if __name__ == "__main__":
    cli.APPLICATION = "chaos.truthful:create_app"  # which imports this file once more, under its own name
    cli.main()
elif path := os.environ.get("VOICESPAN_TRUTH"):
    _witness(path)
