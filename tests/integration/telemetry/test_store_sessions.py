"""Sessions in the store: a row for each that ended, gone with its record, and what deletion leaves: nothing."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.util.types import AttributeValue

from support.stores import end_spans, names_in, waiting
from support.story import events
from support.telling import MODEL
from voicespan import Identity, VoiceSession
from voicespan.sdk.processors import IdentityProcessor, StoreProcessor
from voicespan.sdk.records import Record
from voicespan.sdk.scores import Scores
from voicespan.sdk.session_reading import StoredSession, Wanted, sessions_of
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Store

CALL = "ON MIC VAS I VAE CALL1 RESP1 A T GC U TC I VAE A GC U TC BYE"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "voicespan.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store(path, send={Signal.TRACES})
    yield opened
    opened.close()


def tell(store: Store, session_id: str, story: str = CALL, **identity: str) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(IdentityProcessor())
    provider.add_span_processor(StoreProcessor(store))
    tracer = provider.get_tracer("voicespan")
    session = VoiceSession(Identity(session_id, **identity), MODEL, tracer=tracer)  # type: ignore[arg-type]
    began = session.now_ns()
    for event, at in events(story):
        session.feed(event, began + at)
    assert store.flush(5.0)


def listed(store: Store, **wanted: str) -> list[StoredSession]:
    with sessions_of(store) as sessions:
        return sessions.latest(Wanted(**wanted), 100)  # type: ignore[arg-type]


def test_a_session_that_ended_has_its_sums(store: Store) -> None:
    tell(store, "s-1", user_id="u-1", backend="gemini", key_id="alice")
    [found] = listed(store)
    assert (found.session_id, found.user_id, found.key_id, found.model) == ("s-1", "u-1", "alice", "gemini-3.8-live")
    assert (found.calls, found.chats, found.turns, found.tool_calls, found.interruptions) == (1, 0, 2, 1, 0)
    assert (found.input_tokens, found.output_tokens) == (240, 60)
    assert found.cost_usd == pytest.approx(2 * (100 * 1e-6 + 20 * 3e-6 + 30 * 12e-6))
    assert found.error_type is None
    assert not found.simulated


def test_sessions_are_listed_newest_first_and_found_by_what_they_are(store: Store) -> None:
    for number in range(5):
        user, backend = f"u-{number % 2}", "simulator" if number == 4 else "gemini"
        tell(store, f"s-{number}", user_id=user, key_id="alice", backend=backend)
    assert [found.session_id for found in listed(store)] == ["s-4", "s-3", "s-2", "s-1", "s-0"]
    assert [found.session_id for found in listed(store, user_id="u-0")] == ["s-4", "s-2", "s-0"]
    assert [found.session_id for found in listed(store, backend="simulator")] == ["s-4"]
    assert listed(store, key_id="bob") == listed(store, model="another") == []


def test_calls_of_one_session_are_one_session(store: Store) -> None:
    tell(store, "s-1", user_id="u-1")
    tell(store, "s-1", user_id="u-1")
    [found] = listed(store)
    assert (found.calls, found.turns) == (2, 4)
    with sessions_of(store) as sessions:
        assert len({span.trace_id for span in sessions.spans("s-1")}) == 2


def test_usage_is_told_by_day_model_and_key_and_simulated_calls_apart(store: Store) -> None:
    for session_id, key, backend in (("a", "alice", "gemini"), ("b", "bob", "gemini"), ("c", "bob", "simulator")):
        tell(store, session_id, key_id=key, backend=backend)
    with sessions_of(store) as sessions:
        rows = sessions.usage(("day", "model", "key"), None, None)
        assert [(row.key_id, row.simulated, row.sessions, row.turns) for row in rows] == [
            ("alice", False, 1, 2),
            ("bob", False, 1, 2),
            ("bob", True, 1, 2),
        ]
        [real, simulated] = sessions.usage((), None, None)
        assert (real.day, real.key_id, real.simulated, real.sessions) == (None, None, False, 2)
        assert simulated.simulated
        assert sessions.usage((), "2000-01-01", "2000-01-02") == []
        bills = sessions.bills(0, 0, simulated_too=False)
        assert [bill.key_id for bill in bills] == ["alice", "bob"]
        assert sessions.bills(bills[-1].record, 0, simulated_too=False) == []
        assert len(sessions.bills(0, 0, simulated_too=True)) == 3


def test_sums_have_no_digits_that_adding_makes_up(store: Store) -> None:
    for _ in range(3):
        tell(store, "s-1", backend="gemini")
    [found] = listed(store)
    with sessions_of(store) as sessions:
        [used] = sessions.usage((), None, None)
    for summed in (found, used):
        assert (summed.cost_usd, summed.output_audio_s) == (0.00312, round(summed.output_audio_s, 6))


def test_a_session_whose_process_died_is_listed_too(path: Path, store: Store) -> None:
    tell(store, "s-dead", CALL.removesuffix(" BYE"), user_id="u-1")
    store._owner.release()  # as the system does for a process that was killed
    with closing(Store(path)) as next_one:
        [found] = listed(next_one)
    # The second turn's books had not closed.
    assert (found.session_id, found.turns, found.error_type) == ("s-dead", 1, "process_died")


def test_rows_go_with_their_records(store: Store) -> None:
    tell(store, "s-1")
    assert len(listed(store)) == 1
    store.prune(0)
    assert listed(store) == []


def test_a_deleted_session_leaves_nothing_in_the_file(path: Path, store: Store) -> None:
    tell(store, "s-canary-1", user_id="u-canary-1")
    tell(store, "s-2", user_id="u-2")
    Scores(store).put("s-canary-1-liked", {"name": "liked", "value": 1, "sessionId": "s-canary-1"})
    store.flush(5.0)
    queued = store.queued(Signal.TRACES)
    assert store.delete_session("s-canary-1") == queued // 2 + 1
    assert store.queued(Signal.TRACES) == queued // 2
    assert [found.session_id for found in listed(store)] == ["s-2"]
    with sessions_of(store) as sessions:
        assert sessions.spans("s-canary-1") == []
        assert sessions.scores("s-canary-1") == []
        assert len(sessions.spans("s-2")) == queued // 2
    for file in path.parent.iterdir():
        assert b"canary-1" not in file.read_bytes(), file
    assert store.delete_session("s-canary-1") == 0
    assert b"u-2" in path.read_bytes()


def test_a_session_that_is_deleted_while_a_sender_has_it_takes_nothing_of_anothers_with_it(store: Store) -> None:
    """What comes next gets the ids of what was deleted; what then becomes of the batch is not about that."""
    end_spans(store, "deleted", **{"session.id": "s-1"})
    batch = waiting(store)
    assert store.delete_session("s-1") == 1
    end_spans(store, "another's")
    assert waiting(store).ids == batch.ids
    store.accepted(batch)
    assert names_in(waiting(store)) == ["another's"]
    store.rejected(batch, "HTTP 400")
    assert names_in(waiting(store)) == ["another's"]


def test_a_recording_that_is_deleted_while_a_sender_has_it_takes_nothing_of_anothers_with_it(path: Path) -> None:
    with closing(Store(path, send={Signal.MEDIA, Signal.TRACES})) as store:
        recording = Record(Signal.MEDIA, b"", b"", b"RIFF", "0" * 32, "0" * 16, "", "s-1", "input", 1, 1)
        store.append(recording)
        assert store.flush(5.0)
        batch = store.next_batch(Signal.MEDIA, 1, 1 << 20)
        assert batch is not None
        store.delete_session("s-1")
        end_spans(store, "another's")
        store.accepted(batch)
        assert names_in(waiting(store)) == ["another's"]


def test_a_deletion_that_could_not_be_done_can_be_done_later(path: Path, store: Store) -> None:
    tell(store, "s-1")
    store._tables.database.execute("PRAGMA busy_timeout=20")
    with closing(sqlite3.connect(path)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            store.delete_session("s-1")
        stranger.rollback()
    assert len(listed(store)) == 1
    assert store.delete_session("s-1") > 0
    assert listed(store) == []


def test_a_session_with_a_call_that_goes_on_is_running(store: Store) -> None:
    tell(store, "s-1", CALL.removesuffix(" BYE"), user_id="u-1")
    tell(store, "s-2", user_id="u-1")
    with sessions_of(store) as sessions:
        assert sessions.running("s-1")
        assert not sessions.running("s-2")
        assert sessions.of_user("u-1") == ["s-2", "s-1"]
        assert sessions.of_user("u-2") == []


def test_a_store_of_schema_3_gets_the_rows_of_what_it_holds(path: Path) -> None:
    with closing(Store(path)) as store:
        tell(store, "s-1", user_id="u-1")
    with closing(sqlite3.connect(path)) as old, old:
        old.execute("DROP TABLE sessions")
        old.execute("PRAGMA user_version=3")
    with closing(Store(path)) as store:
        [found] = listed(store)
    assert (found.session_id, found.turns) == ("s-1", 2)


def test_another_programs_span_of_the_same_name_does_no_harm(store: Store) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(StoreProcessor(store))
    usage = '{"input_a": NaN, "input_b": 1e300, "input_c": 123456789012345678901234567890, "input_d": 5}'
    odd: list[tuple[str, dict[str, AttributeValue]]] = [
        ("WebSocket Session", {"voicespan.session.usage_details": "[", "voicespan.session.turns": "many"}),
        ("WebSocket Session", {"voicespan.session.usage_details": usage, "voicespan.session.turns": math.inf}),
        ("WebSocket Session", {"voicespan.session.tool_calls": 2**63 - 1, "voicespan.session.cost": math.nan}),
        ("Chat", {"langfuse.observation.usage_details": usage}),
    ]
    for number, (name, attributes) in enumerate(odd):
        start = {**attributes, "session.id": f"s-{number}"}
        provider.get_tracer("other").start_span(name, attributes=start).end()
    assert store.flush(5.0)
    found = {session.session_id: session for session in listed(store)}
    assert [found[f"s-{n}"].turns for n in range(4)] == [0, 0, 0, 1]
    assert [found[f"s-{n}"].input_tokens for n in range(4)] == [0, 5, 0, 5]
    assert [found[f"s-{n}"].cost_usd for n in range(4)] == [None] * 4
