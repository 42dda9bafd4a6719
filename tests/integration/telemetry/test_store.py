"""The store: what ended is on disk, once, and is read back as it was."""

import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider

from support.stores import path, provider_of, store, waiting
from voicespan.sdk.database import CACHE_KIB, StoreError, open_beside, open_for_writing
from voicespan.sdk.processors import StoreProcessor
from voicespan.sdk.reading import reader
from voicespan.sdk.records import Record
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Bounds, Store
from voicespan.sdk.tables import MAX_ROWS, Tables
from voicespan.sdk.writer import Work

__all__ = ["path", "store"]


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
    batch = waiting(store)
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


def test_a_file_that_is_made_is_its_owners_alone_and_one_that_was_there_stays_as_it_is(path: Path) -> None:
    former = os.umask(0)
    try:
        for mode in (0o600, 0o640):
            store = Store(path)
            provider_of(store).get_tracer("scope").start_span("one").end()
            assert store.flush(5)
            files = [path, *path.parent.glob(f"{path.name}-*")]
            assert len(files) == 3, "the log and its index"
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {mode}
            store.close()
            path.chmod(0o640)
    finally:
        os.umask(former)


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


def test_no_connection_keeps_much_of_the_file_in_memory(path: Path) -> None:
    writing = open_for_writing(path)
    beside = open_beside(path)
    for connection in (writing, beside):
        assert connection.execute("PRAGMA cache_size").fetchone() == (-CACHE_KIB,)
        connection.close()


class Told(sqlite3.Connection):
    """Keeps what it is asked."""

    asked: set[str]

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        self.asked = {*getattr(self, "asked", ()), statement}
        return super().execute(statement, *values)


def test_batches_of_all_sizes_take_few_statements_for_each_is_kept(path: Path) -> None:
    open_for_writing(path).close()
    database = sqlite3.connect(path, factory=Told)
    tables = Tables(database, "me")
    for size in range(1, 100):
        ids = [(f"{size:032x}", f"{at:016x}") for at in range(size)]
        records = [Record(Signal.TRACES, b"r", b"s", b"", *id_, "", None, "", 1, 2) for id_ in ids]
        tables.note_open(records, queued=True)
        tables.insert(records, {Signal.TRACES})
        tables.close(ids)
    assert len(database.asked) < 6 * MAX_ROWS
    assert database.execute("SELECT count(*) FROM records").fetchone() == (sum(range(1, 100)),)
    assert database.execute("SELECT count(*) FROM outbox").fetchone() == (sum(range(1, 100)),)
    assert database.execute("SELECT count(*) FROM open_spans").fetchone() == (0,)
    database.close()
