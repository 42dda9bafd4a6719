"""Files of other versions: brought up to date where that can be done, else named and left alone."""

import sqlite3
import time
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from support.stores import end_spans, names_in, path, waiting
from voicespan.sdk import database as database_module
from voicespan.sdk.database import StoreError, open_for_writing
from voicespan.sdk.reading import reader
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Store

__all__ = ["path"]


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
    assert names_in(waiting(store)) == ["old"]
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
