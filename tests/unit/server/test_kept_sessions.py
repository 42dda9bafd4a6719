"""Who may go on with a session whose client was lost."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry.trace import INVALID_SPAN_CONTEXT

from voicespan.session_scores import Outcomes
from voicespan_server import kept_sessions
from voicespan_server.kept_sessions import Kept, KeptSessions, Owner
from voicespan_server.model_link import Handle

HANDLE = Handle("h-1", 0.0)
OWNER = Owner("key-1", "user-1")


def kept(session_id: str = "s-1") -> Kept:
    return Kept(session_id, OWNER, HANDLE, INVALID_SPAN_CONTEXT, Outcomes())


def nobody() -> None:
    raise AssertionError("nobody is to leave")


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_a_lost_session_is_its_tokens_once() -> None:
    sessions = KeptSessions(30.0)
    token = sessions.open("s-1", OWNER, nobody)
    assert token
    sessions.close(token, kept())
    found = await sessions.take("s-1", token, OWNER)
    assert found
    assert found.handle == HANDLE
    assert await sessions.take("s-1", token, OWNER) is None
    assert len(sessions) == 0


async def test_who_was_not_let_in_may_come_again_with_the_same_token() -> None:
    sessions = KeptSessions(30.0)
    token = sessions.open("s-1", OWNER, nobody)
    assert token
    sessions.close(token, kept())
    found = await sessions.take("s-1", token, OWNER)
    assert found
    sessions.put_back(token, found)
    assert await sessions.take("s-1", token, OWNER) == found
    assert len(sessions) == 0


async def test_neither_a_wrong_token_nor_a_wrong_session_gets_it() -> None:
    sessions = KeptSessions(30.0)
    token = sessions.open("s-1", OWNER, nobody)
    assert token
    sessions.close(token, kept())
    assert await sessions.take("s-1", "x" * 32, OWNER) is None
    assert await sessions.take("s-2", token, OWNER) is None
    assert await sessions.take("s-1", token, OWNER)


@pytest.mark.parametrize("other", [Owner("key-2", "user-1"), Owner("key-1", "user-2")], ids=["key", "user"])
async def test_another_keys_or_users_neither_gets_it_nor_ends_the_call(other: Owner) -> None:
    sessions = KeptSessions(30.0)
    token = sessions.open("s-1", OWNER, nobody)
    assert token
    assert await sessions.take("s-1", token, other) is None
    sessions.close(token, kept())
    assert await sessions.take("s-1", token, other) is None
    assert await sessions.take("s-1", token, Owner("key-1", None))


async def test_tokens_are_long_and_differ() -> None:
    sessions = KeptSessions(30.0)
    tokens = {sessions.open("s-1", OWNER, nobody) for _ in range(100)}
    assert len(tokens) == 100
    assert all(token and len(token) == 32 for token in tokens)


async def test_a_session_that_ended_for_good_is_nobodys() -> None:
    sessions = KeptSessions(30.0)
    token = sessions.open("s-1", OWNER, nobody)
    assert token
    sessions.close(token, None)
    assert await sessions.take("s-1", token, OWNER) is None
    assert len(sessions) == 0


async def test_after_its_time_it_is_forgotten() -> None:
    clock = Clock()
    sessions = KeptSessions(30.0, clock)
    first, second = sessions.open("s-1", OWNER, nobody), sessions.open("s-2", OWNER, nobody)
    assert first
    assert second
    sessions.close(first, kept())
    clock.now_s = 20
    sessions.close(second, kept("s-2"))
    clock.now_s = 31
    assert await sessions.take("s-1", first, OWNER) is None
    assert len(sessions) == 1
    assert await sessions.take("s-2", second, OWNER)


async def test_of_very_many_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_sessions, "MOST_KEPT", 3)
    sessions = KeptSessions(30.0)
    tokens = [token for n in range(5) if (token := sessions.open(f"s-{n}", OWNER, nobody))]
    for n, token in enumerate(tokens):
        sessions.close(token, kept(f"s-{n}"))
    assert await sessions.take("s-0", tokens[0], OWNER) is None
    assert await sessions.take("s-4", tokens[4], OWNER)
    assert len(sessions) == 2


async def test_a_call_that_still_runs_is_ended_first() -> None:
    sessions = KeptSessions(30.0)
    left = asyncio.Event()
    token = sessions.open("s-1", OWNER, left.set)
    assert token
    taking = asyncio.create_task(sessions.take("s-1", token, OWNER))
    await left.wait()
    assert not taking.done()
    sessions.close(token, kept())
    assert await taking


async def test_of_two_who_want_it_the_first_gets_it() -> None:
    sessions = KeptSessions(30.0)
    token = sessions.open("s-1", OWNER, lambda: None)
    assert token
    taking = [asyncio.create_task(sessions.take("s-1", token, OWNER)) for _ in range(2)]
    await asyncio.sleep(0)
    sessions.close(token, kept())
    assert [found is not None for found in await asyncio.gather(*taking)] == [True, False]


async def test_a_call_that_will_not_end_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_sessions, "TAKE_OVER_S", 0.01)
    sessions = KeptSessions(30.0)
    token = sessions.open("s-1", OWNER, lambda: None)
    assert token
    assert await sessions.take("s-1", token, OWNER) is None


async def test_a_server_that_keeps_none_gives_no_tokens() -> None:
    sessions = KeptSessions(0.0)
    assert sessions.open("s-1", OWNER, nobody) is None
    sessions.close(None, kept())
    assert len(sessions) == 0


def test_a_handle_is_not_printed() -> None:
    assert "h-1" not in repr(kept())
