"""What a process that serves live audio asks of Python's interpreter."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress

# A thread that wants the interpreter's lock gets it after this long from one that computes. The store's writer asks for
# it some ten times a commit: at Python's own 5 ms what had ended beside a busy event loop was up to 190 ms from disk.
SWITCH_INTERVAL_S = 0.001

# uvloop keeps 256 KiB to read into for each TLS connection, of which one that is idle touches a page. Taken from the
# heap, as glibc does once one was freed, it lies where others have written: a session held 12 to 24 KiB more.
MMAP_BYTES = 256 << 10
_M_MMAP_THRESHOLD = -3


def begin() -> None:
    """Call before all is imported: little of that becomes garbage, and to look for it takes a third of a second.

    `settle` goes on with it.
    """
    gc.disable()


def settle() -> None:
    """Call once all is imported and warmed up.

    A full collection goes through every object that google-genai and pydantic made, some hundred thousand: 130 ms
    in which no thread of the process runs and no call is heard. What is there now stays, so it need not be looked at.
    """
    sys.setswitchinterval(min(SWITCH_INTERVAL_S, sys.getswitchinterval()))
    _map_large_blocks()
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()
    gc.enable()


def _map_large_blocks() -> None:
    """Have the C library give each large block pages of its own; nothing where it is not glibc."""
    with suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 - who else has a `mallopt` may mean other things by it
        libc.mallopt(_M_MMAP_THRESHOLD, MMAP_BYTES)
