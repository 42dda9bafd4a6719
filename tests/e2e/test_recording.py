"""Calls that are recorded, through the real server and the real collector up to Langfuse's players; and others."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import signal
import sqlite3
import wave
from collections.abc import Sequence
from contextlib import closing

import pytest

from support import langfuse_contract
from support.caller import ask, call, speech, talk_over
from support.collector import CollectorProcess
from support.langfuse_media import Medium
from support.langfuse_rows import row_of
from support.langfuse_sink import LangfuseSink
from support.otlp_sink import OtlpGrpcSink
from support.received import ReceivedSpan
from support.server import ServerProcess
from voicespan_server import client
from voicespan_simulator.process import SimulatorProcess

pytestmark = [pytest.mark.e2e, pytest.mark.collector]

TOKEN = re.compile(r"^@@@langfuseMedia:type=audio/wav\|id=([A-Za-z0-9_-]{22})\|source=bytes@@@$")
CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
ON = {"VOICESPAN_RECORD_AUDIO": "turns", CAPTURE: "SPAN_AND_EVENT"}


@pytest.fixture
def environ(simulator: SimulatorProcess, collector: CollectorProcess, langfuse: LangfuseSink) -> dict[str, str]:
    return {
        "VOICESPAN_BACKEND": "simulator",
        "VOICESPAN_SIMULATOR_URL": simulator.base_url,
        "VOICESPAN_SIMULATOR_CA_FILE": str(simulator.ca_file),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_endpoint,
        "LANGFUSE_BASE_URL": langfuse.base_url,
        "LANGFUSE_PUBLIC_KEY": langfuse.public_key,
        "LANGFUSE_SECRET_KEY": langfuse.secret_key,
    }


def call_at(sink: LangfuseSink | OtlpGrpcSink, trace_id: str) -> list[ReceivedSpan]:
    """All spans of a call, once its session's is there."""

    def of_call(spans: Sequence[ReceivedSpan]) -> list[ReceivedSpan]:
        return [span for span in spans if span.trace_id == trace_id]

    arrived = sink.spans.wait_for(lambda spans: any(s.name == "WebSocket Session" for s in of_call(spans)))
    return of_call(arrived)


def player(span: ReceivedSpan, side: str) -> str:
    """The id of the file that the last message of a turn's side plays."""
    row = row_of(span)
    last = json.loads((row.input if side == "input" else row.output) or "[]")[-1]
    token = last["content"][-1]["input_audio"]["data"] if side == "input" else last["audio"]["data"]
    found = TOKEN.fullmatch(token)
    assert found, token
    return found[1]


def opened(medium: Medium) -> tuple[int, bytes]:
    """A file's rate and samples, which are 16 bits of one channel."""
    assert medium.content is not None
    with wave.open(io.BytesIO(medium.content)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return file.getframerate(), file.readframes(file.getnframes())


async def test_a_recorded_call_can_be_listened_to_turn_by_turn(
    environ: dict[str, str], langfuse: LangfuseSink, jaeger: OtlpGrpcSink
) -> None:
    with ServerProcess({**environ, **ON}) as server:
        # The service's word that somebody speaks takes a while to come; at the usual pace here, speech is over by then.
        async with client.call(server.voice_url, user_id="user-1", pace=0.5) as caller:
            await ask(caller)
            answered_bytes = caller.audio_bytes
            await ask(caller)
            await talk_over(caller, turns=2)
            await caller.hang_up()
        spans = call_at(langfuse, caller.trace_id)
        assert server.get("/healthz")["senders"]["media"]["rejected"] == 0
        server.signal(signal.SIGTERM)  # brings out what waits
        langfuse_contract.trace(spans)
        turns = sorted((span for span in spans if span.name.startswith("Turn ")), key=lambda span: span.start_ns)
        assert [span.attributes["voicespan.turn.end_reason"] for span in turns] == [
            "completed", "completed", "interrupted", "completed",
        ]  # fmt: skip
        media = {medium.id: medium for medium in langfuse.api.media.all()}
        for turn in turns:
            for side, rate_hz in (("input", 16_000), ("output", 24_000)):
                medium = media[player(turn, side)]
                assert medium.playable
                assert (turn.trace_id, turn.span_id, side) in medium.links
                digest = hashlib.sha256(medium.content or b"").digest()
                assert base64.urlsafe_b64encode(digest).decode()[:22] == medium.id
                found_hz, pcm = opened(medium)
                seconds = turn.attributes[f"voicespan.recording.{side}_duration"]
                assert (found_hz, len(pcm) / 2 / found_hz) == (rate_hz, seconds)
            assert speech() in opened(media[player(turn, "input")])[1]
        assert len(opened(media[player(turns[0], "output")])[1]) == answered_bytes, "what the caller got"
        heard_s = turns[2].attributes["voicespan.audio.heard_duration"]
        assert isinstance(heard_s, float)
        assert heard_s < float(str(turns[2].attributes["voicespan.audio.output_duration"]))
        cut_s = len(opened(media[player(turns[2], "output")])[1]) / 2 / 24_000
        assert cut_s == pytest.approx(heard_s, abs=1 / 24_000)
        # Content goes to Langfuse alone, and no backend gets a sample in a span.
        at_jaeger = call_at(jaeger, caller.trace_id)
        assert not any(b"langfuseMedia" in span.raw for span in at_jaeger)
        assert max(len(span.raw) for span in [*spans, *at_jaeger]) < 20_000
        with closing(sqlite3.connect(server.store_path)) as database:
            left = database.execute("SELECT count(*) FROM records WHERE signal = 'media'").fetchone()
        assert left == (0,), "what Langfuse has is not kept"


async def test_a_recording_survives_an_outage_and_the_server_that_made_it(
    environ: dict[str, str], langfuse: LangfuseSink
) -> None:
    langfuse.stop()
    with ServerProcess({**environ, **ON}) as server:
        async with call(server.voice_url) as caller:
            await ask(caller)
            while server.get("/healthz")["store"]["queued"]["media"] < 2:
                pass
            server.signal(signal.SIGKILL)
        langfuse.start()
        server.start()
        langfuse.api.media.reports.wait_count(2)
    assert all(medium.playable for medium in langfuse.api.media.all())
    assert {side for medium in langfuse.api.media.all() for _, _, side in medium.links} == {"input", "output"}


async def test_by_default_no_sample_of_a_call_is_anywhere(
    environ: dict[str, str], langfuse: LangfuseSink, jaeger: OtlpGrpcSink
) -> None:
    with ServerProcess({**environ, CAPTURE: "SPAN_AND_EVENT"}) as server:
        async with call(server.voice_url) as caller:
            await ask(caller)
            await caller.hang_up()
        spans = [*call_at(langfuse, caller.trace_id), *call_at(jaeger, caller.trace_id)]
        assert not any(b"langfuseMedia" in span.raw or b"voicespan.recording" in span.raw for span in spans)
        assert langfuse.api.media.all() == []
        stored = b"".join(path.read_bytes() for path in server.folder.glob("traces.db*"))
        assert b"Turn 1" in stored
        assert speech()[4_000:4_200] not in stored


@pytest.mark.parametrize(
    ("missing", "said"),
    [("LANGFUSE_PUBLIC_KEY", "recordings have nowhere to go"), (CAPTURE, "recordings are content")],
)
async def test_where_something_is_missing_it_is_said_once_and_nothing_is_recorded(
    environ: dict[str, str], langfuse: LangfuseSink, missing: str, said: str
) -> None:
    settings = {**environ, **ON, missing: ""}
    if missing.startswith("LANGFUSE"):
        settings["LANGFUSE_SECRET_KEY"] = ""
    with ServerProcess(settings) as server:
        for _ in range(2):
            async with call(server.voice_url) as caller:
                await ask(caller)
                await caller.hang_up()
            call_at(langfuse, caller.trace_id)
        assert server.log.count(said) == 1
    assert langfuse.api.media.all() == []
