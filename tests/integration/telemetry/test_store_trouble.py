"""A store that cannot write: locked, full, read-only, damaged. What is lost is counted; what comes later is whole."""

import os
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from chaos.disk import small_disk
from support.stores import end_spans, names_in, path, provider_of, store, waiting
from voicespan.sdk import maintenance
from voicespan.sdk.database import StoreError, open_for_writing
from voicespan.sdk.reading import reader, reader_of
from voicespan.sdk.scores import Scores
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Store

__all__ = ["path", "store"]


def test_a_lock_of_a_strangers_delays_spans_and_loses_none(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("voicespan.sdk.writer.RETRY_AFTER_S", 0.05)
    store._tables.database.execute("PRAGMA busy_timeout=20")
    stranger = sqlite3.connect(path)
    stranger.execute("BEGIN IMMEDIATE")
    provider_of(store).get_tracer("t").start_span("patient").end()
    assert not store.flush(0.3)
    stranger.rollback()
    stranger.close()
    assert store.flush(5)
    assert (store.stats().written, store.stats().dropped) == (1, 0)


def test_what_cannot_be_written_is_bounded_and_the_oldest_is_dropped_and_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("voicespan.sdk.writer.RETRY_AFTER_S", 0.02)
    monkeypatch.setattr("voicespan.sdk.writer.MAX_PENDING", 10)
    with store._lock:
        store._tables.database.execute("PRAGMA query_only=ON")  # as if the file had become read-only
    provider = provider_of(store)
    for number in range(100):
        provider.get_tracer("t").start_span(f"span {number}").end()
    assert not store.flush(0.2)
    assert "the store cannot be written" in caplog.text
    assert not store.stats().writing
    with store._lock:
        store._tables.database.execute("PRAGMA query_only=OFF")
    assert store.flush(5)
    stats = store.stats()
    assert stats.writing
    assert stats.written + stats.dropped == 100
    assert 10 <= stats.written <= 20, "ten encoded, ten that wait for it"
    assert "records are dropped" in caplog.text
    assert names_in(waiting(store))[-1] == "span 99"


def test_a_full_disk_delays_spans_and_what_follows_is_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicespan.sdk.writer.RETRY_AFTER_S", 0.05)
    with store._lock:
        pages = store._tables.database.execute("PRAGMA page_count").fetchone()[0]
        store._tables.database.execute(f"PRAGMA max_page_count={pages}")
    provider = provider_of(store, "filled")
    for _ in range(50):
        provider.get_tracer("t").start_span("waits", attributes={"text": "x" * 2_000}).end()
    assert not store.flush(0.3)
    with store._lock:
        store._tables.database.execute("PRAGMA max_page_count=1000000")
    assert store.flush(5)
    assert names_in(waiting(store)) == ["waits"] * 50


def test_what_a_full_disk_did_not_take_to_the_end_is_counted_and_told(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("voicespan.sdk.writer.RETRY_AFTER_S", 0.05)
    with store._lock:
        store._tables.database.execute("PRAGMA query_only=ON")
    for _ in range(3):
        provider_of(store).get_tracer("t").start_span("late").end()
    assert not store.flush(0.3)
    store.close(1)
    assert "could not be written to the end: 3 records are lost" in caplog.text
    assert store.stats().dropped == 3


def test_a_span_that_cannot_be_encoded_is_dropped_alone(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    tracer = provider_of(store).get_tracer("t")
    for name in ("before", "bad \ud800", "after"):
        tracer.start_span(name).end()
    assert store.flush(5)
    assert names_in(waiting(store)) == ["before", "after"]
    assert store.stats().dropped == 1


def test_a_record_that_cannot_be_stored_is_dropped_alone(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(path, send=[Signal.TRACES, Signal.SCORES])
    tracer = provider_of(store).get_tracer("voicespan")
    session = tracer.start_span("WebSocket Session", attributes={"session.id": "s-1"})
    assert store.flush(5)
    tracer.start_span("before").end()
    Scores(store).put("s-1-half", {"name": "half a character: \ud800", "value": 1, "sessionId": "s-1"})
    tracer.start_span("Turn 1", attributes={"session.id": "s-1"}).end()
    session.end()
    tracer.start_span("begun", attributes={"session.id": "s-2"})
    assert not store.flush(5), "not all of it"
    assert names_in(waiting(store)) == ["before", "Turn 1", "WebSocket Session"]
    assert (store.stats().written, store.stats().dropped) == (3, 1)
    with store.locked() as database:
        assert database.execute("SELECT session_id FROM open_spans").fetchall() == [("s-2",)]
    end_spans(store, "after")
    assert "surrogates not allowed" in caplog.text
    store.close()


def test_a_place_that_cannot_be_written_keeps_traces_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "traces.db", send=[Signal.TRACES])
    end_spans(store, "one")
    assert store.stats().in_memory
    assert "kept in memory" in caplog.text
    assert names_in(waiting(store)) == ["one"]
    with reader_of(store) as traces:
        assert [summary.name for summary in traces.latest(10)] == ["one"]
    store.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="a read-only file system is a tmpfs here, which only root can mount")
def test_a_read_only_file_system_keeps_traces_in_memory(caplog: pytest.LogCaptureFixture) -> None:
    try:
        with small_disk() as disk:
            Store(disk / "traces.db").close()
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            store = Store(disk / "traces.db", send=[Signal.TRACES])
            end_spans(store, "one")
            assert store.stats().in_memory
            assert f"{disk}/traces.db cannot be opened" in caplog.text
            store.close()
    except PermissionError as error:
        pytest.skip(str(error))


def test_a_damaged_file_is_named_and_left_alone(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="is not a Voicespan store"):
        open_for_writing(path)
    store = Store(path, send=[])
    assert store.stats().in_memory
    assert path.read_bytes().startswith(b"not a database")
    assert str(path) in caplog.text
    store.close()


@pytest.fixture
def damaged(path: Path) -> Path:
    """A store whose file has a good first page, and nothing else."""
    with closing(Store(path, send=[Signal.TRACES])) as whole:
        end_spans(whole, "one")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    return path


def traces_in(path: Path) -> object:
    with reader(path) as traces:
        return traces.latest(10)


@pytest.mark.parametrize(
    "use",
    [
        maintenance.status,
        maintenance.rejections,
        lambda path: maintenance.prune(path, None, 0.0, forget_rejections=True),
        traces_in,
    ],
    ids=["status", "rejected", "prune", "traces"],
)
def test_who_reads_a_file_that_is_damaged_inside_is_told_so_in_a_line(
    damaged: Path, use: Callable[[Path], object]
) -> None:
    with pytest.raises(StoreError, match=f"{damaged} is damaged .*: move it away"):
        use(damaged)


def test_a_file_that_was_damaged_before_it_was_opened_is_left_for_the_memory(
    damaged: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Store(damaged, send=[Signal.TRACES])) as store:
        end_spans(store, "two")
        assert store.stats().in_memory
        assert names_in(waiting(store)) == ["two"]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert f"{damaged} is damaged" in caplog.text


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_deleted_or_replaced_while_it_is_open_is_told_once_and_what_is_in_hand_is_sent(
    store: Store, path: Path, caplog: pytest.LogCaptureFixture, replaced: bool
) -> None:
    end_spans(store, "before")
    if replaced:
        other = path.with_name("other.db")
        Store(other).close()
        other.replace(path)
    else:
        path.unlink()
    assert not store.stats().replaced
    store._keep_house()
    store._keep_house()
    assert store.stats().replaced
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert f"{path} was deleted or replaced" in caplog.text
    end_spans(store, "after")
    assert names_in(waiting(store)) == ["before", "after"]


def test_a_file_that_is_damaged_while_it_is_open_costs_the_file_and_not_what_comes(
    store: Store, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    end_spans(store, *(f"span {n}" for n in range(50)))
    with store.locked() as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * (path.stat().st_size - 100))
    assert store.next_batch(Signal.TRACES, 1, 1) is None  # a look into it is what finds it out
    end_spans(store, "afterwards")
    assert store.stats().in_memory
    assert "is damaged" in caplog.text
    assert f"{path} is damaged" in caplog.text
    batch = waiting(store)
    assert names_in(batch) == ["afterwards"]
    store.accepted(batch)
    assert store.stats().queued[Signal.TRACES] == 0
