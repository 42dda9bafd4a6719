"""A call's inside: what waits for whom, what is dropped first, when a connection may be left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import cast

import pytest
from google.genai import errors, types

from support.call_bench import Client, eventually
from support.telling import IDENTITY, MODEL, Recorder
from voicespan import VoiceSession
from voicespan.events import Close
from voicespan_server import downlink
from voicespan_server.call import Call
from voicespan_server.hangup import HungUp
from voicespan_server.live import Upstream
from voicespan_server.places.embedded import EmbeddedPlaces
from voicespan_server.protocol import CloseCode, TurnTaking
from voicespan_server.settings import Settings
from voicespan_server.tools import Toolbox


class Live:
    """google-genai's session and the client that connects to it, as far as a call uses them."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[types.LiveServerMessage | Exception] = asyncio.Queue()
        self.sent: list[object] = []
        self.heard: asyncio.Queue[object] = asyncio.Queue()
        self.handles: list[str | None] = []
        self.setup_complete: types.LiveServerSetupComplete | None = None
        self.fails_to_send: Exception | None = None
        self.refusals: list[Exception] = []
        self.aio = self.live = self

    def connect(self, *, model: str, config: types.LiveConnectConfig) -> Live:
        assert config.session_resumption
        self.handles.append(config.session_resumption.handle)
        return self

    async def __aenter__(self) -> Live:
        if self.refusals:
            raise self.refusals.pop(0)
        self.setup_complete = types.LiveServerSetupComplete()
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def receive(self) -> AsyncIterator[types.LiveServerMessage]:
        while True:
            item = await self.messages.get()
            if isinstance(item, Exception):
                raise item
            yield item

    async def close(self) -> None:
        self.messages.put_nowait(closed(1000, ""))

    async def send_realtime_input(self, **what: object) -> None:
        if self.fails_to_send:
            raise self.fails_to_send
        self._take(next(iter(what.values())))

    async def send_tool_response(self, *, function_responses: types.FunctionResponse) -> None:
        self._take(function_responses)

    def _take(self, item: object) -> None:
        self.sent.append(item)
        self.heard.put_nowait(item)

    def says(self, **fields: object) -> None:
        self.messages.put_nowait(types.LiveServerMessage.model_validate(fields))


def closed(code: int, reason: str) -> Exception:
    """What google-genai raises from receive, and from connect, when the service closes."""
    return errors.APIError(code, reason, None)  # type: ignore[arg-type]


class Bench:
    """A call between two ends that the test holds."""

    def __init__(self, turns: TurnTaking = "auto", **settings: object) -> None:
        self.client, self.live, self.recorder = Client(), Live(), Recorder()
        session = VoiceSession(IDENTITY, MODEL, tracer=self.recorder.tracer)
        upstream = Upstream(cast("object", self.live), "simulator", MODEL, MODEL)  # type: ignore[arg-type]
        self.call = Call(self.client, session, upstream, Settings(**settings), Toolbox(EmbeddedPlaces()), turns=turns)  # type: ignore[arg-type]
        self.running = asyncio.create_task(self.call.run(lambda restored: {"type": "ready", "restored": restored}))

    async def settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    async def end(self) -> HungUp:
        self.client.incoming.put_nowait(HungUp(Close(1000, "", "client")))
        async with asyncio.timeout(5):
            return await self.running


def handle(name: str = "h-1") -> dict[str, object]:
    return {"session_resumption_update": {"new_handle": name, "resumable": True}}


async def test_a_frame_as_large_as_is_allowed_is_sent() -> None:
    bench = Bench()
    bench.client.incoming.put_nowait(bytes(32_768))
    await bench.settle()
    assert [len(blob.data or b"") for blob in bench.live.sent if isinstance(blob, types.Blob)] == [32_768]
    await bench.end()


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"idle_timeout_s": 0.1}, CloseCode.TIMEOUT),
        ({"idle_timeout_s": 0.1, "max_session_s": 60}, CloseCode.TIMEOUT),
        ({"max_session_s": 0.1}, CloseCode.TOO_LONG),
        ({"max_session_s": 0.1, "idle_timeout_s": 60}, CloseCode.TOO_LONG),
        ({"max_session_s": 1e-12}, CloseCode.TOO_LONG),
    ],
)
async def test_a_call_ends_with_its_clients_silence_or_with_the_longest_time_for_one(
    settings: dict[str, float], code: CloseCode
) -> None:
    bench = Bench(**settings)
    async with asyncio.timeout(5):
        ended = await bench.running
    assert ended.close.code == code
    assert ended.close.initiator == "server"


async def test_what_waited_during_a_reconnection_is_sent_afterwards() -> None:
    bench = Bench()
    await bench.settle()
    bench.live.says(**handle())
    await bench.settle()
    bench.live.fails_to_send = ConnectionError("gone")
    for text in ("one", "two"):
        bench.client.incoming.put_nowait(f'{{"type": "text", "text": "{text}"}}')
    await bench.settle()
    bench.live.fails_to_send = None
    bench.live.messages.put_nowait(ConnectionError("gone"))
    async with asyncio.timeout(5):
        assert [await bench.live.heard.get(), await bench.live.heard.get()] == ["one", "two"]
    assert bench.live.handles == [None, "h-1"]
    await bench.end()


@pytest.mark.parametrize(
    "before",
    [
        [{"voice_activity": {"voice_activity_type": "ACTIVITY_START"}}],
        [{"server_content": {"input_transcription": {"text": "take me"}}}],
        [{"server_content": {"model_turn": {"parts": [{"text": "well"}]}}}],
    ],
    ids=["while the user speaks", "while the user waits", "while the model answers"],
)
async def test_a_connection_that_will_be_cut_is_not_left_in_mid_turn(before: list[dict[str, object]]) -> None:
    bench = Bench()
    bench.live.says(**handle())
    for fields in before:
        bench.live.says(**fields)
    bench.live.says(go_away={"time_left": "5s"})
    await bench.settle()
    assert bench.live.handles == [None]
    bench.live.says(server_content={"model_turn": {"parts": [{"text": "well"}]}})
    bench.live.says(server_content={"turn_complete": True}, usage_metadata={"prompt_token_count": 1})
    await bench.settle()
    if "ACTIVITY_START" in str(before):
        assert bench.live.handles == [None], "nobody has said that the user stopped"
    else:
        assert bench.live.handles == [None, "h-1"]
    await bench.end()


async def test_a_connection_without_a_handle_is_kept_to_its_end() -> None:
    bench = Bench()
    bench.live.says(go_away={"time_left": "5s"})
    await bench.settle()
    assert bench.live.handles == [None]
    await bench.end()


async def test_a_service_that_cuts_right_after_the_setup_is_not_dialled_for_ever() -> None:
    bench = Bench(reconnect_budget_s=0)
    bench.live.says(**handle())
    for _ in range(20):
        bench.live.messages.put_nowait(ConnectionError("cut"))
    async with asyncio.timeout(5):
        ended = await bench.running
    assert ended.close.code == 4502
    assert bench.live.handles == [None, "h-1"]


async def test_a_handle_that_is_refused_after_a_cut_that_was_announced_is_dropped() -> None:
    bench = Bench()
    bench.live.says(**handle())
    bench.live.says(voice_activity={"voice_activity_type": "ACTIVITY_START"})
    bench.live.says(go_away={"time_left": "5s"})
    await bench.settle()
    bench.live.refusals = [closed(1007, "Invalid session resumption handle.")]
    bench.live.messages.put_nowait(closed(1008, ""))
    await bench.settle()
    assert bench.live.handles == [None, "h-1", None]
    await bench.end()


async def test_what_goes_wrong_after_a_stall_is_not_taken_for_one() -> None:
    bench = Bench()
    bench.live.says(**handle())
    await bench.settle()
    bench.live.refusals = [closed(1007, "API key not valid. Please pass a valid API key.")]
    bench.call._link.leave_stalled()
    async with asyncio.timeout(5):
        ended = await bench.running
    assert ended.close.code == 4502
    assert any("model_refused" in str(item) for item in bench.client.sent)


async def test_a_connection_that_goes_away_before_it_said_a_word_is_kept_to_its_end() -> None:
    bench = Bench()
    bench.live.says(**handle())
    bench.live.says(go_away={"time_left": "5s"})
    await bench.settle()
    assert bench.live.handles == [None]
    bench.live.messages.put_nowait(closed(1011, "Deadline expired before operation could complete."))
    await bench.settle()
    assert bench.live.handles == [None, "h-1"]
    await bench.end()


async def test_a_client_that_does_not_read_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downlink, "MAX_BYTES", 10_000)
    bench = Bench(max_messages_per_s=0)
    bench.client.reads.clear()
    for _ in range(1_000):
        bench.client.incoming.put_nowait('{"type": "ping", "t": 1}')
    async with asyncio.timeout(5):
        await eventually(lambda: bench.call._limited)
        bench.client.reads.set()
        ended = await bench.running
    assert ended.close.code == 1013
    assert bench.call.downlink.waiting_bytes <= 10_000


async def test_a_fault_in_sending_ends_the_call_instead_of_leaving_the_model_deaf() -> None:
    bench = Bench()
    bench.live.fails_to_send = RuntimeError("a bug")
    bench.client.incoming.put_nowait(bytes(640))
    async with asyncio.timeout(5):
        ended = await bench.running
    assert ended.close.code == 1011
    assert {span.name for span in bench.recorder.spans()} >= {"WebSocket Session", "Live Connection 1"}


async def test_a_call_without_an_id_is_answered_without_one() -> None:
    bench = Bench()
    bench.live.says(tool_call={"function_calls": [{"name": "search_nearby", "args": {"query": "cafe"}}]})
    async with asyncio.timeout(5):
        response = await bench.live.heard.get()
    assert isinstance(response, types.FunctionResponse)
    assert response.id is None
    await bench.end()


async def test_a_message_that_the_sdk_cannot_read_is_skipped() -> None:
    bench = Bench()
    bench.live.messages.put_nowait(TypeError("unknown kind of message"))
    bench.live.says(server_content={"model_turn": {"parts": [{"text": "still here"}]}})
    await bench.settle()
    assert any("turn.started" in str(item) for item in bench.client.sent)
    await bench.end()


async def test_a_button_that_is_held_over_a_reconnection_is_pressed_again() -> None:
    bench = Bench(turns="manual")
    await bench.settle()
    bench.live.says(**handle())
    bench.client.incoming.put_nowait('{"type": "activity.start"}')
    bench.client.incoming.put_nowait(bytes(640))
    await bench.settle()
    bench.live.messages.put_nowait(ConnectionError("gone"))
    bench.client.incoming.put_nowait(bytes(320))
    bench.client.incoming.put_nowait('{"type": "activity.end"}')
    async with asyncio.timeout(5):
        while len(bench.live.sent) < 5:
            await bench.live.heard.get()
    assert [type(item).__name__ for item in bench.live.sent] == [
        *("ActivityStart", "Blob", "ActivityStart", "Blob", "ActivityEnd"),
    ]
    assert bench.live.handles == [None, "h-1"]
    await bench.end()


async def test_audio_that_the_model_does_not_take_is_dropped_and_told_once_a_second() -> None:
    bench = Bench(max_uplink_ms=1_000)
    await bench.settle()
    bench.live.fails_to_send = ConnectionError("gone")
    for _ in range(50):
        bench.client.incoming.put_nowait(bytes(1_280))
    await bench.settle()
    await bench.settle()
    warnings = [json.loads(item) for item in bench.client.sent if "input_dropped" in str(item)]
    assert [warning["ms"] for warning in warnings] == [40]
    assert bench.call.uplink.audio_bytes == 32_000
    await bench.end()
    (session,) = [span for span in bench.recorder.spans() if span.name == "WebSocket Session"]
    assert session.attributes["voicespan.session.dropped_audio_duration"] == pytest.approx(1.0)
