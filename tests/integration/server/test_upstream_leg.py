"""The connection to the model: when audio goes past the SDK, and when it must not."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.genai.live import AsyncSession
from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from support.upstream_wire import Transport, connected, frame, session_over
from voicespan_server import audio_wire, upstream_leg
from voicespan_server.live import SOCKET_OPTIONS
from voicespan_server.live_connection import LiveConnection
from voicespan_server.upstream_leg import UpstreamLeg

PCM = b"\x10\x27" * 480
AUDIO = json.dumps(
    {
        "serverContent": {
            "modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm", "data": base64.b64encode(PCM).decode()}}]}
        }
    }
).encode()
INTERRUPTED = b'{"serverContent":{"interrupted":true}}'


@pytest.fixture(autouse=True)
def _first_warning() -> Iterator[None]:
    audio_wire.warn_once.cache_clear()
    yield
    audio_wire.warn_once.cache_clear()


class Heard:
    def __init__(self, leg: UpstreamLeg) -> None:
        self.audio: list[tuple[bytes, str]] = []
        leg.on_audio = lambda pcm, mime_type: self.audio.append((pcm, mime_type))


def sent_by(leg: ClientConnection) -> list[Frame]:
    """The frames behind the upgrade's request."""
    assert isinstance(leg.transport, Transport)
    reader = StreamReader()
    reader.feed_data(bytes(leg.transport.written).split(b"\r\n\r\n", 1)[1])
    reader.feed_eof()
    found = []
    while not _run(reader.at_eof()):
        found.append(_run(Frame.parse(reader.read_exact, mask=True)))
    return found


def _run(generator: Any) -> Any:
    try:
        next(generator)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it wants more bytes")


def test_google_genai_is_given_it() -> None:
    assert SOCKET_OPTIONS["create_connection"] is UpstreamLeg
    assert SOCKET_OPTIONS["compression"] is None, "deflated audio cannot be scanned"


async def test_audio_is_heard_without_waiting_for_a_reader() -> None:
    leg = connected(UpstreamLeg)
    heard = Heard(leg)
    leg.data_received(frame(AUDIO) + frame(b"{}") + frame(AUDIO, Opcode.TEXT))
    assert heard.audio == [(PCM, "audio/pcm")] * 2
    assert leg.frames_received == 3


async def test_audio_behind_a_message_waits_until_that_was_dealt_with() -> None:
    leg = connected(UpstreamLeg)
    heard = Heard(leg)
    leg.data_received(frame(INTERRUPTED) + frame(AUDIO))
    messages = aiter(session_over(leg).receive())
    assert (await anext(messages)).server_content.interrupted  # type: ignore[union-attr]
    leg.data_received(frame(AUDIO))  # the interruption is still being dealt with
    assert not heard.audio
    waiting = asyncio.create_task(anext(messages))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert heard.audio == [(PCM, "audio/pcm")] * 2
    leg.data_received(frame(AUDIO))
    assert heard.audio == [(PCM, "audio/pcm")] * 3
    waiting.cancel()


async def test_audio_that_waited_stands_between_the_messages_around_it() -> None:
    leg = connected(UpstreamLeg)
    heard = Heard(leg)
    leg.data_received(frame(INTERRUPTED) + frame(AUDIO) + frame(b"{}") + frame(INTERRUPTED) + frame(AUDIO))
    messages = aiter(session_over(leg).receive())
    for behind in (0, 1):
        assert (await anext(messages)).server_content.interrupted  # type: ignore[union-attr]
        assert len(heard.audio) == behind


async def test_the_setups_answer_and_all_until_it_is_wanted_go_to_the_sdk() -> None:
    leg = connected(UpstreamLeg)
    leg.data_received(frame(b'{"setupComplete":{}}') + frame(AUDIO))
    assert [await leg.recv(decode=False) for _ in range(2)] == [b'{"setupComplete":{}}', AUDIO]


@pytest.mark.parametrize("cut_at", [None, 1, 40, -2])
async def test_an_upgrades_answer_may_come_in_pieces(cut_at: int | None) -> None:
    leg = connected(UpstreamLeg, cut_answer_at=cut_at)
    heard = Heard(leg)
    leg.data_received(frame(AUDIO))
    assert heard.audio


async def test_a_service_that_speaks_first_is_heard_by_the_sdk_alone(caplog: pytest.LogCaptureFixture) -> None:
    leg = connected(UpstreamLeg, answer_then=frame(AUDIO)[:5])
    heard = Heard(leg)
    leg.data_received(frame(AUDIO)[5:] + frame(AUDIO))
    assert [await leg.recv(decode=False) for _ in range(2)] == [AUDIO, AUDIO]
    assert not heard.audio
    assert not leg.send_audio(PCM)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_without_an_internal_that_it_needs_all_goes_the_plain_way(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(upstream_leg, "_INTERNALS", ("protocol", "renamed"))
    for _ in range(2):
        leg = connected(UpstreamLeg)
        heard = Heard(leg)
        leg.data_received(frame(AUDIO))
        assert await leg.recv(decode=False) == AUDIO
        assert not heard.audio
    (line,) = caplog.messages
    assert "renamed" in line


async def test_a_session_over_another_connection_takes_the_sdks_way(caplog: pytest.LogCaptureFixture) -> None:
    connection = connected(ClientConnection)
    live = LiveConnection(session_over(connection))
    live.take_audio(lambda *_: None)
    assert not live.write_audio(PCM)
    await live.send_audio(PCM)
    (sent,) = sent_by(connection)
    assert base64.urlsafe_b64decode(json.loads(bytes(sent.data))["realtime_input"]["audio"]["data"]) == PCM
    assert len(caplog.messages) == 1


async def test_what_the_sdk_dialled_with_is_let_go_and_the_connection_stays() -> None:
    leg = connected(UpstreamLeg)
    left: list[str] = []

    @asynccontextmanager
    async def dialled() -> AsyncIterator[AsyncSession]:  # as google-genai's `connect` is
        yield session_over(leg)
        await leg.close()
        left.append("dialling")

    dialling = dialled()
    connection = LiveConnection(await dialling.__aenter__(), dialling)
    await connection.forget_dialling()
    assert left == ["dialling"]
    assert leg.send_audio(PCM)
    closing = asyncio.ensure_future(connection.end())
    await asyncio.sleep(0)
    assert not leg.send_audio(PCM)
    leg.connection_lost(None)
    await closing


async def test_a_connection_of_the_sdks_own_ends_as_it_was_dialled() -> None:
    left: list[str] = []

    @asynccontextmanager
    async def dialled() -> AsyncIterator[AsyncSession]:
        yield session_over(connected(ClientConnection))
        left.append("dialling")

    dialling = dialled()
    connection = LiveConnection(await dialling.__aenter__(), dialling)
    await connection.forget_dialling()
    assert not left
    await connection.end()
    assert left == ["dialling"]


async def test_audio_is_written_at_once_between_what_the_sdk_sends() -> None:
    leg = connected(UpstreamLeg)
    live = LiveConnection(session_over(leg))
    await live.send_text("Hello.")
    assert live.write_audio(PCM)
    await live.end_audio()
    text, audio, end = (json.loads(bytes(sent.data))["realtime_input"] for sent in sent_by(leg))
    assert text == {"text": "Hello."}
    assert base64.b64decode(audio["audio"]["data"]) == PCM
    assert end == {"audioStreamEnd": True}


async def test_it_says_the_same_as_the_sdk() -> None:
    fast, plain = connected(UpstreamLeg), connected(ClientConnection)
    await LiveConnection(session_over(fast)).send_audio(PCM)
    await LiveConnection(session_over(plain)).send_audio(PCM)
    (ours,), (theirs,) = sent_by(fast), sent_by(plain)
    said = json.loads(bytes(theirs.data))
    blob = said["realtime_input"]["audio"]
    blob["data"] = blob["data"].translate(str.maketrans("-_", "+/"))  # the service reads either alphabet
    assert json.loads(bytes(ours.data)) == said
    assert (ours.opcode, ours.fin) == (theirs.opcode, theirs.fin)


async def test_nothing_is_written_while_the_service_does_not_read() -> None:
    leg = connected(UpstreamLeg)
    leg.pause_writing()
    assert not leg.send_audio(PCM)
    assert not sent_by(leg)
    leg.resume_writing()
    assert leg.send_audio(PCM)


async def test_nothing_is_written_to_a_connection_that_ends() -> None:
    leg = connected(UpstreamLeg)
    leg.transport.close()
    assert not leg.send_audio(PCM)
    other = connected(UpstreamLeg)
    other.data_received(frame(b"\x03\xe8", Opcode.CLOSE))
    assert not other.send_audio(PCM)


async def test_nothing_is_written_into_a_message_in_fragments() -> None:
    leg = connected(UpstreamLeg)
    begun, more = asyncio.Event(), asyncio.Event()

    async def fragments() -> Any:
        yield b"a"
        begun.set()
        await more.wait()
        yield b"b"

    sending = asyncio.create_task(leg.send(fragments()))
    await begun.wait()
    assert not leg.send_audio(PCM)
    more.set()
    await sending
    assert leg.send_audio(PCM)


async def test_a_message_that_is_too_long_ends_the_connection_as_ever() -> None:
    leg = connected(UpstreamLeg)
    Heard(leg)
    # Longer than what is put together here, and than what websockets was told to take.
    leg.data_received(b"\x82\x7f" + (17 << 20).to_bytes(8, "big") + b"{" * 1000)
    (close,) = sent_by(leg)
    assert (close.opcode, bytes(close.data[:2])) == (Opcode.CLOSE, (1009).to_bytes(2, "big"))
