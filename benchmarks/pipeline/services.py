"""Services whose calls are told (`stories`), each with the library's whole pipeline: store, senders, metrics."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from uuid import uuid4

from benchmarks.pipeline.stories import Manner, Teller

from support.running import Running
from voicespan import Identity, Metrics, Model, VoiceSession, prices_of
from voicespan.sdk.pipeline import Pipeline, configure

MODEL = Model(
    "gemini-3.8-live",
    server_address="127.0.0.1",
    server_port=443,
    prices=prices_of("gemini-3.8-live", date.today()),
)


class Service(Running):
    """Tells a call every `every_s` seconds between start() and stop(), under a service name of its own."""

    def __init__(self, name: str, manner: Manner, otlp_endpoint: str, *, every_s: float = 1.0, seed: int = 1) -> None:
        self.name = name
        self.calls = 0
        self._teller = Teller(manner, seed)
        self._every_s = every_s
        self._pipeline = _pipeline(name, otlp_endpoint)
        meter = self._pipeline.meter_provider.get_meter("voicespan")
        self._metrics = Metrics(meter)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"service-{name}", daemon=True)

    def start(self) -> None:
        """The first call is told after `every_s`."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the call that is told, with what it told delivered."""
        self._ended.set()
        self._thread.join()
        self._pipeline.shutdown()

    def _run(self) -> None:
        tracer = self._pipeline.tracer_provider.get_tracer("voicespan")
        logger = self._pipeline.logger_provider.get_logger("voicespan")
        while not self._ended.wait(self._every_s):
            identity = Identity(str(uuid4()), backend="gemini", tags=("voice",))
            session = VoiceSession(identity, MODEL, tracer=tracer, metrics=self._metrics, logger=logger)
            self._teller.tell(session)
            self.calls += 1


def _pipeline(name: str, otlp_endpoint: str) -> Pipeline:
    settings = {
        "OTEL_SERVICE_NAME": name,
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_endpoint,
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    }
    with _environment(settings):  # the SDK reads nothing else
        return configure(None, service_version="0", set_global=False, environ=settings)


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
