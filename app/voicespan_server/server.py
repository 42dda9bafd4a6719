"""What the routes share: settings, the way to the model, telemetry, and how all of it ends."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from voicespan import conventions as c
from voicespan.sdk import pipeline as sdk
from voicespan.sdk.reading import StoredSpan, reader_of
from voicespan.sdk.store import Bounds
from voicespan_server import __version__
from voicespan_server.access.door import Door
from voicespan_server.access.refusal_metric import observe_refusals
from voicespan_server.access.stored_spend import StoredSpend
from voicespan_server.drain import Drain, in_thread_of_its_own
from voicespan_server.kept_sessions import KeptSessions
from voicespan_server.live import Upstream, connect_to
from voicespan_server.places import provider_of
from voicespan_server.settings import Settings
from voicespan_server.telemetry import Telemetry
from voicespan_server.tools import Toolbox

if TYPE_CHECKING:
    from voicespan.langfuse import LangfuseClient

logger = logging.getLogger(__name__)

# A record that has waited this long is a sign of an outage.
LATE_S = 30.0
LANGFUSE_CLOSE_S = 2.0
FLUSH_S = 5.0


class Server:
    """What the routes share: settings, the way to the model, telemetry."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.door = Door(settings)
        self.upstream: Upstream = connect_to(settings)
        self.pipeline: sdk.Pipeline = sdk.configure(
            settings.store_path if settings.store == "on" else None,
            service_version=__version__,
            bounds=Bounds(settings.store_max_mb << 20, settings.store_max_days * 86_400, settings.store_synchronous),
        )
        self.stored_spend = StoredSpend(self.pipeline.store, self.door.spend, simulated_too=settings.budget_simulated)
        observe_refusals(self.pipeline.meter_provider.get_meter(c.SCOPE), self.door)
        self.drain = Drain(settings.drain_s)
        self.kept_sessions = KeptSessions(settings.resume_s)
        self.telemetry = Telemetry.of(self.pipeline, record=settings.record_audio == "turns")
        self.toolbox = Toolbox(provider_of(settings, self.telemetry.tracer))
        self.langfuse = _langfuse(settings)

    def telemetry_faults(self) -> list[str]:
        """What somebody ought to look at, in words; empty where all is well."""
        stats = self.pipeline.store.stats()
        faults = []
        if stats.in_memory and self.settings.store == "on":
            faults.append("the store's file cannot be used: traces are kept in memory")
        if stats.replaced:
            faults.append("the store's file was deleted or replaced: traces are sent but not kept, restart the process")
        if not stats.writing:
            faults.append("the store cannot be written")
        if stats.dropped:
            faults.append(f"{stats.dropped} records were dropped")
        if self.pipeline.media and self.pipeline.media.dropped:
            faults.append(f"{self.pipeline.media.dropped} recordings were dropped: the store could not take them")
        for signal, age_s in stats.oldest_age_s.items():
            if age_s > LATE_S:
                faults.append(f"{signal} wait since {age_s:.0f} s: {self.pipeline.senders[signal].stats.last_error}")
        for signal, sender in self.pipeline.senders.items():
            if sender.stats.rejected:
                faults.append(f"{sender.stats.rejected} {signal} were refused: {sender.stats.last_error}")
        return faults

    async def check_langfuse(self) -> None:
        """Say at the start, not at the first lost score, that the keys are wrong."""
        if self.langfuse and (fault := await in_thread_of_its_own(self.langfuse.check)):
            logger.warning("Langfuse: %s", fault)

    def langfuse_link(self, trace_id: str) -> str | None:
        """Where a browser finds a trace in Langfuse; None without Langfuse."""
        link = self.langfuse.trace_url(trace_id) if self.langfuse else None
        if link and self.settings.langfuse_browser_url:
            link = link.replace(self.settings.langfuse_base_url, self.settings.langfuse_browser_url, 1)
        return link

    def stored_trace(self, trace_id: str) -> list[StoredSpan]:
        """The spans of a trace that have ended, once they are in the store; blocks."""
        store = self.pipeline.store
        store.flush(FLUSH_S)
        with reader_of(store) as traces:
            return traces.spans(trace_id)

    async def stop(self) -> None:
        """Bring telemetry out, within bounds. uvicorn dies by its signal afterwards, so nothing later would run."""
        await self.toolbox.places.close()
        kept = self.pipeline.store.path
        if not await in_thread_of_its_own(self.pipeline.shutdown) and self.pipeline.senders:
            logger.warning("not all could be sent; what is left %s", f"stays in {kept}" if kept else "is lost")
        if self.langfuse:
            with suppress(TimeoutError):
                async with asyncio.timeout(LANGFUSE_CLOSE_S):
                    await in_thread_of_its_own(self.langfuse.close)


def _langfuse(settings: Settings) -> LangfuseClient | None:
    if not settings.langfuse_public_key or not settings.langfuse_secret_key:
        return None
    # Its SDK takes its time to import: only for who uses it.
    from voicespan.langfuse import LangfuseClient  # noqa: PLC0415

    secret = settings.langfuse_secret_key.get_secret_value()
    return LangfuseClient(settings.langfuse_public_key, secret, settings.langfuse_base_url)
