"""A session that goes on after its client's socket was lost: the same session, another trace, and nobody else's."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

import pytest
from websockets.exceptions import ConnectionClosed

from support.caller import PACE, ask
from support.otlp_sink import OtlpHttpSink
from support.received import ReceivedSpan
from support.server import ServerProcess
from voicespan_server.client import Resumption, VoiceClient, call

pytestmark = pytest.mark.e2e

KEYS = "first:0123456789abcdef-first,second:0123456789abcdef-second"


async def lost_call(url: str, token: str | None = None) -> VoiceClient:
    """A call of one turn whose client then vanishes."""
    with contextlib.suppress(ConnectionClosed):
        async with call(url, pace=PACE, user_id="user-1", token=token) as caller:
            await ask(caller)
            caller.socket.transport.abort()
    return caller


def resumption(caller: VoiceClient) -> Resumption:
    assert caller.resumption is not None
    return caller.resumption


def token_of(server: ServerProcess, secret: str) -> str:
    answer = server.post("/v1/session-tokens", {}, {"Authorization": f"Bearer {secret}"})
    return str(answer["token"])


def sessions_of(spans: Sequence[ReceivedSpan], session_id: str) -> list[ReceivedSpan]:
    return [s for s in spans if s.name == "WebSocket Session" and s.attributes["session.id"] == session_id]


async def test_a_lost_client_goes_on_with_its_session(environ: dict[str, str], receiver: OtlpHttpSink) -> None:
    with ServerProcess(environ) as server:
        lost = await lost_call(server.voice_url)
        async with call(server.voice_url, pace=PACE, user_id="user-1", resume=resumption(lost)) as again:
            assert (again.ready.resumed, again.ready.restored) == (True, True)
            assert again.session_id == lost.session_id
            assert again.trace_id != lost.trace_id
            await ask(again)
            await again.hang_up()
        sessions = receiver.spans.wait_for(lambda spans: len(sessions_of(spans, lost.session_id)) == 2)
        upgrade = next(s for s in sessions if s.name == "Voice Session" and s.trace_id == again.trace_id)
    former, _ = sessions_of(sessions, lost.session_id)
    assert [(link.trace_id, link.span_id) for link in upgrade.links] == [(former.trace_id, former.span_id)]
    assert {s.attributes["user.id"] for s in sessions if s.name.startswith("Turn ")} == {"user-1"}


async def test_a_session_goes_on_once_and_only_with_its_token(environ: dict[str, str]) -> None:
    with ServerProcess(environ) as server:
        lost = await lost_call(server.voice_url)
        for wrong in (replace(resumption(lost), token="guessed"), replace(resumption(lost), session_id="another")):
            async with call(server.voice_url, pace=PACE, resume=wrong) as stranger:
                assert (stranger.ready.resumed, stranger.session_id == lost.session_id) == (False, False)
        async with call(server.voice_url, pace=PACE, resume=resumption(lost)) as again:
            assert again.ready.resumed
        async with call(server.voice_url, pace=PACE, resume=resumption(lost)) as twice:
            assert not twice.ready.resumed


async def test_a_session_is_of_the_key_that_it_began_with(environ: dict[str, str]) -> None:
    with ServerProcess({**environ, "VOICESPAN_API_KEYS": KEYS}) as server:
        first, second = (token_of(server, f"0123456789abcdef-{name}") for name in ("first", "second"))
        lost = await lost_call(server.voice_url, first)
        async with call(server.voice_url, pace=PACE, token=first, resume=resumption(lost)) as again:
            assert again.ready.resumed
            resumed = resumption(again)
            again.socket.transport.abort()
        async with call(server.voice_url, pace=PACE, token=second, resume=resumed) as another:
            assert not another.ready.resumed
