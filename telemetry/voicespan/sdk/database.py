"""The store's file: its schema, and how it is opened by several processes at once."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from voicespan.sdk.sessions import INDEXES, SESSIONS, fill

SCHEMA_VERSION = 4
# `envelopes` holds what records of one origin share: a ResourceSpans and a ScopeSpans without their spans. `records` is
# insert-only; `outbox` is narrow, so that accepting a record does not rewrite it. `open_spans` is the journal: what is
# known of spans that have not ended, for whoever comes after a crash; `queued` says whether its owner sends. `sessions`
# is made from records.
_OUTBOX_QUEUED = "CREATE INDEX outbox_queued ON outbox (signal, owner, record) WHERE rejected IS NULL"
_OUTBOX_REJECTED = "CREATE INDEX outbox_rejected ON outbox (record) WHERE rejected IS NOT NULL"
_OPEN_SPANS = """CREATE TABLE open_spans (
        trace_id TEXT NOT NULL,
        span_id TEXT NOT NULL,
        owner TEXT NOT NULL,
        queued INTEGER NOT NULL,
        resource INTEGER NOT NULL REFERENCES envelopes(id),
        scope INTEGER NOT NULL REFERENCES envelopes(id),
        session_id TEXT NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (trace_id, span_id)
    )"""
_SCHEMA = (
    "CREATE TABLE envelopes (id INTEGER PRIMARY KEY, body BLOB NOT NULL UNIQUE)",
    """CREATE TABLE records (
        id INTEGER PRIMARY KEY,
        signal TEXT NOT NULL,
        resource INTEGER NOT NULL REFERENCES envelopes(id),
        scope INTEGER NOT NULL REFERENCES envelopes(id),
        trace_id TEXT NOT NULL,
        span_id TEXT NOT NULL,
        parent_id TEXT NOT NULL,
        session_id TEXT,
        name TEXT NOT NULL,
        start_ns INTEGER NOT NULL,
        end_ns INTEGER NOT NULL,
        body BLOB NOT NULL,
        written_s INTEGER
    )""",
    "CREATE INDEX records_by_trace ON records (trace_id)",
    "CREATE INDEX records_by_session ON records (session_id) WHERE session_id IS NOT NULL",
    """CREATE TABLE outbox (
        record INTEGER PRIMARY KEY REFERENCES records(id),
        owner TEXT NOT NULL,
        rejected TEXT,
        signal TEXT NOT NULL DEFAULT 'traces'
    )""",
    _OUTBOX_QUEUED,
    _OUTBOX_REJECTED,
    _OPEN_SPANS,
    SESSIONS,
    *INDEXES,
)
# What makes a file of an older schema one of the next. A process of the older version that still has it open goes on
# undisturbed: columns were only added, with defaults, and tables that it does not know (what it ends is in no list of
# sessions then).
_MIGRATIONS = {
    2: (
        "ALTER TABLE records ADD COLUMN written_s INTEGER",
        "ALTER TABLE outbox ADD COLUMN signal TEXT NOT NULL DEFAULT 'traces'",
        "DROP INDEX outbox_queued",
        _OUTBOX_QUEUED,
        _OUTBOX_REJECTED,
        _OPEN_SPANS,
    ),
    3: (SESSIONS, *INDEXES),
}
BUSY_S = 5.0
CACHE_KIB = 256
Synchronous = Literal["NORMAL", "FULL"]

logger = logging.getLogger(__name__)


class StoreError(Exception):
    """The file cannot be used as a store; the message says what to do."""


@contextmanager
def store_errors(path: Path, done: str, found: str) -> Iterator[None]:
    """SQLite's errors as a `StoreError`: that the file cannot be `done`, locked or on a full disk, or is `found`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreError(f"{path} cannot be {done}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path} is {found} ({error}): move it away") from error


def open_for_writing(path: Path, synchronous: Synchronous = "NORMAL") -> sqlite3.Connection:
    """Open a store; make it where there is none, and bring an older one up to date.

    Raises:
        StoreError: it is no store, was written by a newer version, or cannot be opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_private(path)
        with store_errors(path, "opened", "not a Voicespan store"):
            return _prepared(sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False), path, synchronous)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}") from error


def _make_private(path: Path) -> None:
    """Where there is no file, make one for its owner alone: what people said is in it. SQLite's logs take after it."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def open_beside(path: Path) -> sqlite3.Connection:
    """Another connection to a store that is open in this process: for reading, which a write-ahead log lets go on."""
    database = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False)
    database.execute("PRAGMA query_only=ON")
    _bound_cache(database)
    return database


def open_in_memory() -> sqlite3.Connection:
    """A store that ends with the process."""
    return _prepared(sqlite3.connect(":memory:", check_same_thread=False), None, "NORMAL")


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a store that is there; changes nothing in it.

    Raises:
        FileNotFoundError: there is none.
        StoreError: it is no store, has another schema, or cannot be opened.
    """
    if not path.exists():
        raise FileNotFoundError(f"no traces yet: {path} does not exist (VOICESPAN_STORE_PATH names another file)")
    with store_errors(path, "opened", "not a Voicespan store"):
        database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_S)
        try:
            _check_readable(_version(database, path), path)
        except BaseException:
            database.close()
            raise
    return database


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A store that is there, for as long as it is read.

    Raises:
        FileNotFoundError: there is none.
        StoreError: as `open_for_reading`; or it turns out to be damaged, or is locked.
    """
    with closing(open_for_reading(path)) as database, store_errors(path, "read", "damaged"):
        yield database


def _check_readable(version: int, path: Path) -> None:
    if version == 0:
        raise StoreError(f"{path} is not a Voicespan store: VOICESPAN_STORE_PATH names another file")
    if version < SCHEMA_VERSION:
        raise StoreError(f"{path} has schema {version}: `voicespan store prune` brings it to {SCHEMA_VERSION}")


def _prepared(database: sqlite3.Connection, path: Path | None, synchronous: Synchronous) -> sqlite3.Connection:
    try:
        if _version(database, path) < SCHEMA_VERSION:
            _create_or_migrate(database, path)
        _write_ahead(database)
        _check_writable(database)
        database.execute(f"PRAGMA synchronous={synchronous}")
        database.execute("PRAGMA foreign_keys=ON")
        _bound_cache(database)
    except BaseException:
        database.close()
        raise
    return database


def _bound_cache(database: sqlite3.Connection) -> None:
    # Of SQLite's own 2 MB each connection takes all; the system caches the file as well, and inserting costs the same.
    database.execute(f"PRAGMA cache_size=-{CACHE_KIB}")


def _check_writable(database: sqlite3.Connection) -> None:
    """A file on a read-only file system opens well enough; find out now. A stranger's lock will pass."""
    try:
        database.execute("BEGIN IMMEDIATE")
        database.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:  # the low byte is the primary code
            raise


def _version(database: sqlite3.Connection, path: Path | None) -> int:
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise StoreError(f"{path} was written by a newer Voicespan (schema {version}): upgrade, or move it away")
    if version and version != SCHEMA_VERSION and version not in _MIGRATIONS:
        raise StoreError(f"{path} was written by an older Voicespan (schema {version}): move it away")
    return version


def _create_or_migrate(database: sqlite3.Connection, path: Path | None) -> None:
    database.execute("BEGIN IMMEDIATE")  # who comes second waits here, and finds it done
    with database:
        version = _version(database, path)
        if version == 0:
            if database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise StoreError(f"{path} is another program's database: VOICESPAN_STORE_PATH names another file")
            for statement in _SCHEMA:
                database.execute(statement)
        elif version < SCHEMA_VERSION:
            for each in range(version, SCHEMA_VERSION):
                for statement in _MIGRATIONS[each]:
                    database.execute(statement)
            fill(database)
            logger.warning("%s had schema %d and was brought to %d", path, version, SCHEMA_VERSION)
        database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def _write_ahead(database: sqlite3.Connection) -> None:
    """Switch to a write-ahead log. SQLite's busy timeout does not cover this, so wait for others here."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            database.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
