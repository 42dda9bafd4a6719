"""What a process that serves live audio asks of Python's interpreter."""

from __future__ import annotations

import ctypes
import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

# A thread that wants the interpreter's lock gets it after this long from one that computes. The store's writer asks for
# it some ten times a commit: at Python's own 5 ms what had ended beside a busy event loop was up to 190 ms from disk.
# The event loop asks with each read and write while the writer encodes: at 1 ms frames came a tenth to a third later
# (p99 at half load, three pairs of runs), and took more of the processor.
SWITCH_INTERVAL_S = 0.0002

# uvloop keeps 256 KiB to read into for each TLS connection, of which one that is idle touches a page. Taken from the
# heap, as glibc does once one was freed, it lies where others have written: a session held 12 to 24 KiB more. But each
# read makes an object of the same size, and shrinks it: pages of its own for that would cost more than all else that is
# done with what was read. So only while a connection is made do blocks of that size have pages of their own.
BUFFER_BYTES = 256 << 10
USUAL_BYTES = 4 << 20
# What is free at the heap's end is given back from here on: not what was read into just now.
TRIM_BYTES = 8 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_connecting = 0


def begin() -> None:
    """Call before all is imported: little of that becomes garbage, and to look for it takes a third of a second.

    `settle` goes on with it.
    """
    gc.disable()


def import_without(absent: str, module: str) -> None:
    """Import `module` as if `absent` was not installed; one that cannot do without it, or if it is there, as always."""
    if absent not in sys.modules:
        # Python's own mark of what cannot be imported.
        sys.modules[absent] = None  # type: ignore[assignment]
        try:
            importlib.import_module(module)
        except ImportError:
            pass
        finally:
            del sys.modules[absent]
    importlib.import_module(module)


def settle() -> None:
    """Call once all is imported and warmed up.

    A full collection goes through every object that google-genai and pydantic made, some hundred thousand: 130 ms
    in which no thread of the process runs and no call is heard. What is there now stays, so it need not be looked at:
    not even once, for of all that only a third of a megabyte is garbage.
    """
    if sys.getswitchinterval() > SWITCH_INTERVAL_S:
        sys.setswitchinterval(SWITCH_INTERVAL_S)
    _mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES)
    _mallopt(_M_MMAP_THRESHOLD, USUAL_BYTES)
    if not gc.get_freeze_count():
        gc.freeze()
    gc.enable()


@contextmanager
def buffers_of_their_own() -> Iterator[None]:
    """While a TLS connection is made: the block that it reads into has pages of its own, see above."""
    global _connecting  # noqa: PLW0603 - as many as are made at once; the C library has one such number for all
    _connecting += 1
    _mallopt(_M_MMAP_THRESHOLD, BUFFER_BYTES)
    try:
        yield
    finally:
        _connecting -= 1
        if not _connecting:
            _mallopt(_M_MMAP_THRESHOLD, USUAL_BYTES)


def _mallopt(parameter: int, value: int) -> None:
    if libc := _glibc():
        libc.mallopt(parameter, value)


@cache
def _glibc() -> ctypes.CDLL | None:
    """The C library, where it is that one: who else has a `mallopt` may mean other things by it."""
    with suppress(OSError, TypeError):
        libc = ctypes.CDLL(None)
        if hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "mallopt"):
            return libc
    return None
