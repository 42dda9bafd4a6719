"""The store's file: its schema, how it is opened by several processes at once, and who of them is alive."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
import uuid
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

SCHEMA_VERSION = 2
# `envelopes` holds what records of one origin share: a ResourceSpans and a ScopeSpans without their spans. `records` is
# insert-only; `outbox` is narrow, so that accepting a record does not rewrite it.
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
        body BLOB NOT NULL
    )""",
    "CREATE INDEX records_by_trace ON records (trace_id)",
    "CREATE INDEX records_by_session ON records (session_id) WHERE session_id IS NOT NULL",
    "CREATE TABLE outbox (record INTEGER PRIMARY KEY REFERENCES records(id), owner TEXT NOT NULL, rejected TEXT)",
    "CREATE INDEX outbox_queued ON outbox (owner, record) WHERE rejected IS NULL",
)
BUSY_S = 5.0


class StoreError(Exception):
    """The file cannot be used as a store; the message says what to do."""


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open, and where needed make, a store.

    Raises:
        StoreError: it is no store, was written by a newer version, or cannot be opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _prepared(sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False), path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}") from error
    except sqlite3.OperationalError as error:
        raise StoreError(f"{path} cannot be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path} is not a Voicespan store ({error}): move it away") from error


def open_in_memory() -> sqlite3.Connection:
    """A store that ends with the process."""
    return _prepared(sqlite3.connect(":memory:", check_same_thread=False), None)


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a store that is there; changes nothing in it.

    Raises:
        FileNotFoundError: there is none.
        StoreError: it is no store, was written by a newer version, or cannot be opened.
    """
    if not path.exists():
        raise FileNotFoundError(f"no traces yet: {path} does not exist (VOICESPAN_STORE_PATH names another file)")
    try:
        database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_S)
        if _version(database, path) == 0:
            database.close()
            raise StoreError(f"{path} is not a Voicespan store: VOICESPAN_STORE_PATH names another file")
    except sqlite3.OperationalError as error:
        raise StoreError(f"{path} cannot be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path} is not a Voicespan store ({error}): move it away") from error
    return database


def _prepared(database: sqlite3.Connection, path: Path | None) -> sqlite3.Connection:
    try:
        if _version(database, path) == 0:
            _create(database, path)
        _write_ahead(database)
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute("PRAGMA foreign_keys=ON")
    except BaseException:
        database.close()
        raise
    return database


def _version(database: sqlite3.Connection, path: Path | None) -> int:
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise StoreError(f"{path} was written by a newer Voicespan (schema {version}): upgrade, or move it away")
    if 0 < version < SCHEMA_VERSION:
        raise StoreError(f"{path} was written by an older Voicespan (schema {version}): move it away")
    return version


def _create(database: sqlite3.Connection, path: Path | None) -> None:
    database.execute("BEGIN IMMEDIATE")  # who comes second waits here, and finds it done
    with database:
        if _version(database, path) == 0:
            if database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise StoreError(f"{path} is another program's database: VOICESPAN_STORE_PATH names another file")
            for statement in _SCHEMA:
                database.execute(statement)
            database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def _write_ahead(database: sqlite3.Connection) -> None:
    """Switch to a write-ahead log. SQLite's busy timeout does not cover this, so wait for others here."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            database.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


class Owner:
    """A process's name in the outbox, and the lock that it holds for its life: not a clock tells who is alive."""

    def __init__(self, store: Path | None) -> None:
        self.name = uuid.uuid4().hex
        self._store = store
        self._path: Path | None = None
        self._descriptor = -1
        if store is None:
            return
        # Locked before it has its name, so that nobody can find it unlocked.
        unnamed = store.with_name(f"{store.name}.{self.name}.new")
        self._descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self._path = unnamed.rename(store.with_name(f"{store.name}.{self.name}.lock"))

    def gone(self, names: list[str]) -> list[str]:
        """Those of these owners that hold no lock any more. Locks that nobody holds are removed."""
        if self._store is None:
            return []
        alive = {self.name}
        for path in self._store.parent.glob(f"{self._store.name}.*.lock"):
            if path != self._path and _is_held(path):
                alive.add(path.name.removeprefix(f"{self._store.name}.").removesuffix(".lock"))
        return [name for name in names if name not in alive]

    def release(self) -> None:
        """Let go; what is left in the outbox is for whoever comes."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._path = None


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        with suppress(FileNotFoundError):
            path.unlink()
        return False
    finally:
        os.close(descriptor)
