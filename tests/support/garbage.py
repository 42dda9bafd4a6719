"""What is left for Python's garbage collector: objects that hold each other, and so stay until it comes."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

_OURS = ("voicespan", "voicespan_server")


@contextmanager
def garbage() -> Iterator[Counter[str]]:
    """After the block: how many of our own objects became unreachable in it without being freed, by type."""
    found: Counter[str] = Counter()
    gc.freeze()  # what there is already need not be looked through
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        kinds = [type(thing) for thing in gc.garbage]
        found.update(kind.__qualname__ for kind in kinds if kind.__module__.split(".")[0] in _OURS)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
        gc.enable()
