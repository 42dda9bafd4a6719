"""The store: what ended is on disk, once, and leaves the outbox when a receiver has it."""

import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from chaos.disk import small_disk
from voicespan.sdk import database as database_module
from voicespan.sdk.database import StoreError, open_for_reading, open_for_writing
from voicespan.sdk.processors import StoreProcessor
from voicespan.sdk.reading import reader, reader_of
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Bounds, Store
from voicespan.sdk.writer import Work


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traces.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store(path, send=[Signal.TRACES])
    yield opened
    opened.close()


def provider_of(store: Store, service: str = "test") -> TracerProvider:
    provider = TracerProvider(resource=Resource({"service.name": service}), shutdown_on_exit=False)
    provider.add_span_processor(StoreProcessor(store))
    return provider


def end_spans(store: Store, *names: str) -> None:
    tracer = provider_of(store).get_tracer("scope")
    for name in names:
        tracer.start_span(name, attributes={"session.id": "s-1", "n": 1}).end()
    assert store.flush(5)


def names_in(request: bytes) -> list[str]:
    decoded = ExportTraceServiceRequest.FromString(request)
    return [s.name for r in decoded.resource_spans for scope in r.scope_spans for s in scope.spans]


def test_an_ended_span_is_read_back_as_it_was(store: Store, path: Path) -> None:
    tracer = provider_of(store).get_tracer("scope")
    with tracer.start_as_current_span("parent") as parent:
        parent.set_attributes({"session.id": "s-1", "text": "é", "many": ["a", "b"], "half": 0.5, "yes": True})
        parent.add_event("happened", {"k": 1})
        tracer.start_span("child").end()
    assert store.flush(5)
    with reader(path) as traces:
        [summary] = traces.latest(10)
        assert (summary.name, summary.session_id, summary.spans) == ("parent", "s-1", 2)
        assert traces.find(summary.trace_id[:8]) == traces.find("s-1") == [summary.trace_id]
        found_parent, child = traces.spans(summary.trace_id)
    assert found_parent.attributes == {"session.id": "s-1", "text": "é", "many": ["a", "b"], "half": 0.5, "yes": True}
    assert [(e.name, e.attributes) for e in found_parent.events] == [("happened", {"k": 1})]
    assert child.parent_id == found_parent.span_id


def test_a_request_is_what_the_exporter_would_send(store: Store) -> None:
    for service in ("a", "b"):
        provider = provider_of(store, service)
        provider.get_tracer("one").start_span(f"{service}1").end()
        provider.get_tracer("two", schema_url="https://example.org/schema").start_span(f"{service}2").end()
    assert store.flush(5)
    batch = store.next_batch(Signal.TRACES, 100, 1 << 20)
    assert batch is not None
    decoded = ExportTraceServiceRequest.FromString(batch.request)
    shape = [
        (r.resource.attributes[0].value.string_value, scope.scope.name, scope.schema_url, [s.name for s in scope.spans])
        for r in decoded.resource_spans
        for scope in r.scope_spans
    ]
    assert shape == [
        ("a", "one", "", ["a1"]),
        ("a", "two", "https://example.org/schema", ["a2"]),
        ("b", "one", "", ["b1"]),
        ("b", "two", "https://example.org/schema", ["b2"]),
    ]


def test_a_span_leaves_the_outbox_when_it_is_accepted_and_stays_in_the_history(store: Store, path: Path) -> None:
    end_spans(store, "one", "two")
    batch = store.next_batch(Signal.TRACES, 1, 1 << 20)
    assert batch is not None
    assert names_in(batch.request) == ["one"]
    store.accepted(batch)
    assert store.stats().queued[Signal.TRACES] == 1
    rest = store.next_batch(Signal.TRACES, 10, 1 << 20)
    assert rest is not None
    assert names_in(rest.request) == ["two"]
    with reader(path) as traces:
        assert sum(summary.spans for summary in traces.latest(10)) == 2


def test_what_is_refused_is_set_aside_with_its_reason(store: Store, path: Path) -> None:
    end_spans(store, "one")
    batch = store.next_batch(Signal.TRACES, 10, 1 << 20)
    assert batch is not None
    store.rejected(batch, "HTTP 400 bad")
    assert store.next_batch(Signal.TRACES, 10, 1 << 20) is None
    assert (store.queued(Signal.TRACES), store.rejected_count()) == (0, 1)
    assert open_for_reading(path).execute("SELECT rejected FROM outbox").fetchall() == [("HTTP 400 bad",)]


def test_batches_are_bounded_in_bytes_but_never_empty(store: Store) -> None:
    end_spans(store, "one", "two", "three")
    batch = store.next_batch(Signal.TRACES, 10, 1)
    assert batch is not None
    assert names_in(batch.request) == ["one"]


def test_without_a_receiver_nothing_waits_to_be_sent(path: Path) -> None:
    store = Store(path, send=[])
    end_spans(store, "one")
    assert store.stats().queued == {}
    assert store.stats().written == 1
    store.close()


def test_unsent_spans_of_a_process_that_is_gone_are_adopted(path: Path) -> None:
    first = Store(path, send=[Signal.TRACES])
    end_spans(first, "left behind")
    first.close()
    second = Store(path, send=[Signal.TRACES])
    batch = second.next_batch(Signal.TRACES, 10, 1 << 20)
    assert batch is not None
    assert names_in(batch.request) == ["left behind"]
    second.close()


def test_unsent_spans_of_a_process_that_lives_are_left_to_it(path: Path) -> None:
    program = f"""
    import sys
    from pathlib import Path
    from opentelemetry.sdk.trace import TracerProvider
    from voicespan.sdk.processors import StoreProcessor
    from voicespan.sdk.signals import Signal
    from voicespan.sdk.store import Store
    store = Store(Path({str(path)!r}), send=[Signal.TRACES])
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(StoreProcessor(store))
    provider.get_tracer("t").start_span("theirs").end()
    store.flush(5)
    print("ready", flush=True)
    sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        meanwhile = Store(path, send=[Signal.TRACES])
        assert meanwhile.next_batch(Signal.TRACES, 10, 1 << 20) is None
        meanwhile.close()
        other.kill()
        other.wait()
    afterwards = Store(path, send=[Signal.TRACES])
    batch = afterwards.next_batch(Signal.TRACES, 10, 1 << 20)
    assert batch is not None
    assert names_in(batch.request) == ["theirs"]
    afterwards.close()


def test_a_long_outbox_is_adopted_in_steps(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Store(path, send=[Signal.TRACES])
    end_spans(first, *(f"span {n}" for n in range(25)))
    first.close()
    monkeypatch.setattr("voicespan.sdk.store.ADOPT_STEP_RECORDS", 10)
    second = Store(path, send=[Signal.TRACES])
    woken = threading.Semaphore(0)
    second.on_commit(Signal.TRACES, woken.release)
    while second.queued(Signal.TRACES) < 25:
        assert woken.acquire(timeout=5)
    batch = second.next_batch(Signal.TRACES, 100, 1 << 20)
    assert batch is not None
    assert names_in(batch.request) == [f"span {n}" for n in range(25)]
    second.close()


def test_a_full_store_drops_its_oldest_and_counts(store: Store, path: Path) -> None:
    end_spans(store, *(f"span {n}" for n in range(3_000)))
    used = store._tables.used_bytes()
    lost = store.prune(used * 3 // 4)
    assert 0 < lost < 3_000
    assert store.stats().dropped == lost
    with reader(path) as traces:
        kept = {summary.name for summary in traces.latest(5_000)}
    assert "span 2999" in kept
    assert "span 0" not in kept


def test_only_the_oldest_are_dropped(store: Store, path: Path) -> None:
    end_spans(store, *(f"span {n}" for n in range(1_000)))
    store.prune(store._tables.used_bytes() - 1)
    with reader(path) as traces:
        kept = {summary.name for summary in traces.latest(5_000)}
    assert kept == {f"span {n}" for n in range(200, 1_000)}


def test_processes_that_start_at_once_share_the_file(path: Path) -> None:
    program = f"""
    import sys
    from pathlib import Path
    from voicespan.sdk.signals import Signal
    from voicespan.sdk.store import Store
    sys.stdin.readline()
    store = Store(Path({str(path)!r}), send=[Signal.TRACES])
    print(store.stats().in_memory)
    store.close()
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=30)[0].strip() for process in started] == ["False"] * 4


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
    batch = store.next_batch(Signal.TRACES, 100, 1 << 20)
    assert batch is not None
    assert names_in(batch.request)[-1] == "span 99"


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
    batch = store.next_batch(Signal.TRACES, 100, 1 << 20)
    assert batch is not None
    assert names_in(batch.request) == ["waits"] * 50


def test_a_span_that_cannot_be_encoded_is_dropped_alone(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    tracer = provider_of(store).get_tracer("t")
    for name in ("before", "bad \ud800", "after"):
        tracer.start_span(name).end()
    assert store.flush(5)
    batch = store.next_batch(Signal.TRACES, 10, 1 << 20)
    assert batch is not None
    assert names_in(batch.request) == ["before", "after"]
    assert store.stats().dropped == 1


def test_reading_changes_nothing_in_a_file(path: Path) -> None:
    stranger = sqlite3.connect(path)
    stranger.execute("CREATE TABLE theirs (x)")
    stranger.commit()
    stranger.close()
    with pytest.raises(StoreError, match="not a Voicespan store"), reader(path):
        pass
    with pytest.raises(StoreError, match="another program's database"):
        open_for_writing(path)
    tables = sqlite3.connect(path).execute("SELECT name FROM sqlite_master").fetchall()
    assert tables == [("theirs",)]


def test_who_does_not_send_leaves_unsent_spans_to_those_who_do(path: Path) -> None:
    first = Store(path, send=[Signal.TRACES])
    end_spans(first, "left behind")
    first.close()
    Store(path, send=[]).close()
    sender = Store(path, send=[Signal.TRACES])
    assert sender.stats().queued[Signal.TRACES] == 1
    sender.close()
    assert not list(path.parent.glob("*.lock"))


def test_a_place_that_cannot_be_written_keeps_traces_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "traces.db", send=[Signal.TRACES])
    end_spans(store, "one")
    assert store.stats().in_memory
    assert "kept in memory" in caplog.text
    batch = store.next_batch(Signal.TRACES, 10, 1 << 20)
    assert batch is not None
    assert names_in(batch.request) == ["one"]
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


def test_a_file_that_is_damaged_while_it_is_open_costs_the_file_and_not_what_comes(
    store: Store, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    end_spans(store, *(f"span {n}" for n in range(50)))
    with store.locked() as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * (path.stat().st_size - 100))
    assert store.rejected_count() == 0  # a look into it is what finds it out
    end_spans(store, "afterwards")
    assert store.stats().in_memory
    assert "is damaged" in caplog.text
    assert f"{path} is damaged" in caplog.text
    batch = store.next_batch(Signal.TRACES, 10, 1 << 20)
    assert batch is not None
    assert names_in(batch.request) == ["afterwards"]
    store.accepted(batch)
    assert store.stats().queued[Signal.TRACES] == 0


def test_what_is_too_old_is_dropped_and_counted(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(path, send=[Signal.TRACES])
    end_spans(store, "old")
    with store.locked() as database:
        database.execute("UPDATE records SET written_s = written_s - 1000")
        database.commit()
    end_spans(store, "young")
    store.prune(1 << 30, max_age_s=999)
    batch = store.next_batch(Signal.TRACES, 10, 1 << 20)
    assert batch is not None
    assert names_in(batch.request) == ["young"]
    assert (store.stats().dropped, store.stats().queued[Signal.TRACES]) == (1, 1)
    assert "the oldest 1 unsent records were dropped" in caplog.text
    store.close()


def test_full_synchronisation_can_be_asked_for(path: Path) -> None:
    for synchronous, number in (("NORMAL", 1), ("FULL", 2)):
        store = Store(path, bounds=Bounds(synchronous=synchronous))  # type: ignore[arg-type]
        with store.locked() as database:
            assert database.execute("PRAGMA synchronous").fetchone() == (number,)
        store.close()


def test_a_session_and_its_turn_are_committed_together(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    committed: list[tuple[list[str], list[str]]] = []
    insert = store._insert

    def spy(work: Work) -> None:
        committed.append(([r.name for r in work.records], [r.name for r in work.opened.values()]))
        insert(work)

    monkeypatch.setattr(store, "_insert", spy)
    tracer = provider_of(store).get_tracer("voicespan")
    tracer.start_span("WebSocket Session", attributes={"session.id": "s-1"})
    assert store.flush(5)
    tracer.start_span("Turn 1", attributes={"session.id": "s-1", "voicespan.turn.index": 1}).end()
    assert store.flush(5)
    assert committed == [([], ["WebSocket Session"]), (["Turn 1"], ["WebSocket Session"])]


def test_an_older_schema_is_refused_and_left_alone(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE records (id)")
    database.execute("PRAGMA user_version=1")
    database.close()
    with pytest.raises(StoreError, match="older Voicespan"), reader(path):
        pass
    store = Store(path, send=[Signal.TRACES])
    end_spans(store, "kept in memory")
    assert store.stats().in_memory
    assert "older Voicespan" in caplog.text
    store.close()


SCHEMA_2 = """
CREATE TABLE envelopes (id INTEGER PRIMARY KEY, body BLOB NOT NULL UNIQUE);
CREATE TABLE records (id INTEGER PRIMARY KEY, signal TEXT NOT NULL, resource INTEGER NOT NULL REFERENCES envelopes(id),
    scope INTEGER NOT NULL REFERENCES envelopes(id), trace_id TEXT NOT NULL, span_id TEXT NOT NULL,
    parent_id TEXT NOT NULL, session_id TEXT, name TEXT NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL,
    body BLOB NOT NULL);
CREATE INDEX records_by_trace ON records (trace_id);
CREATE INDEX records_by_session ON records (session_id) WHERE session_id IS NOT NULL;
CREATE TABLE outbox (record INTEGER PRIMARY KEY REFERENCES records(id), owner TEXT NOT NULL, rejected TEXT);
CREATE INDEX outbox_queued ON outbox (owner, record) WHERE rejected IS NULL;
PRAGMA user_version=2;
"""


def test_a_store_of_schema_2_is_brought_up_to_date_with_all_that_is_in_it(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    end_ns = time.time_ns()
    old = sqlite3.connect(path)
    old.executescript(SCHEMA_2)
    old.execute("INSERT INTO envelopes VALUES (1, x''), (2, x'0a00')")
    body = Span(name="old", trace_id=b"t" * 16, span_id=b"s" * 8, end_time_unix_nano=end_ns).SerializeToString()
    ids = ((b"t" * 16).hex(), (b"s" * 8).hex())
    old.execute("INSERT INTO records VALUES (1, 'traces', 1, 2, ?, ?, '', 's-1', 'old', 0, ?, ?)", (*ids, end_ns, body))
    old.execute("INSERT INTO outbox VALUES (1, 'somebody', NULL)")
    old.commit()
    with pytest.raises(StoreError, match="schema 2: `voicespan store prune`"), reader(path):
        pass
    store = Store(path, send=[Signal.TRACES])
    assert "had schema 2" in caplog.text
    batch = store.next_batch(Signal.TRACES, 10, 1 << 20)
    assert batch is not None
    assert names_in(batch.request) == ["old"]
    with store.locked() as migrated:
        made = open_for_writing(tmp_path / "fresh.db")
        for table in ("envelopes", "records", "outbox", "open_spans"):
            query = f"SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info('{table}')"
            assert migrated.execute(query).fetchall() == made.execute(query).fetchall()
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name"
        assert migrated.execute(query).fetchall() == made.execute(query).fetchall()
        made.close()
    # A process of the older version that has it open goes on; it named its columns.
    columns = "signal, resource, scope, trace_id, span_id, parent_id, session_id, name, start_ns, end_ns, body"
    old.execute(
        f"INSERT INTO records ({columns}) VALUES ('traces', 1, 2, 't', 's', '', NULL, 'two', 0, ?, x'')", (end_ns,)
    )
    old.execute("INSERT INTO outbox (record, owner) VALUES (2, 'somebody')")
    old.commit()
    old.close()
    store.close()


def test_a_newer_schema_is_refused(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version={database_module.SCHEMA_VERSION + 1}")
    database.close()
    with pytest.raises(StoreError, match="newer Voicespan"):
        open_for_writing(path)


def test_no_store_no_traces(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="VOICESPAN_STORE_PATH"), reader(tmp_path / "none.db"):
        pass
    assert not os.listdir(tmp_path)  # noqa: PTH208


def test_spans_that_are_not_sampled_are_not_stored(store: Store) -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(StoreProcessor(store))
    provider.get_tracer("t").start_span("unsampled").end()
    assert store.flush(5)
    assert store.stats().written == 0
