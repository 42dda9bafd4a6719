"""What a process that serves live audio asks of Python's interpreter."""

from __future__ import annotations

import gc
import sys

# A thread that wants the interpreter's lock gets it after this long from one that computes. The store's writer asks for
# it some ten times a commit: at Python's own 5 ms what had ended beside a busy event loop was up to 190 ms from disk.
SWITCH_INTERVAL_S = 0.001


def settle() -> None:
    """Call once all is imported and warmed up.

    A full collection goes through every object that google-genai and pydantic made, some hundred thousand: 130 ms
    in which no thread of the process runs and no call is heard. What is there now stays, so it need not be looked at.
    """
    sys.setswitchinterval(min(SWITCH_INTERVAL_S, sys.getswitchinterval()))
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()
