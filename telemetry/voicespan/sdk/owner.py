"""Who of the processes that share a store is alive."""

from __future__ import annotations

import fcntl
import os
import uuid
from contextlib import suppress
from glob import escape
from pathlib import Path


class Owner:
    """A process's name in the outbox, and the lock that it holds for its life: not a clock tells who is alive."""

    def __init__(self, store: Path | None) -> None:
        self.name = uuid.uuid4().hex
        # As SQLite does: whoever knows the file by another name finds the lock.
        store = store and store.resolve()
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
        alive = living_owners(self._store, but=self._path) | {self.name}
        return [name for name in names if name not in alive]

    def leave_to_parent(self) -> None:
        """In a forked process: the lock is the parent's, and goes when the parent does."""
        if self._path is not None:
            os.close(self._descriptor)
            self._path = None

    def release(self) -> None:
        """Let go; what is left in the outbox is for whoever comes."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._path = None


def living_owners(store: Path, but: Path | None = None) -> set[str]:
    """The names of those who hold a lock, `but` this one. Locks that nobody holds are removed."""
    store = store.resolve()
    return {
        path.name.removeprefix(f"{store.name}.").removesuffix(".lock")
        for path in store.parent.glob(f"{escape(store.name)}.*.lock")
        if path != but and _is_held(path)
    }


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
