"""What a serving process asks of the interpreter."""

import gc
import sys
from collections.abc import Iterator

import pytest

from voicespan_server import interpreter


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    interval_s = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval_s)
    gc.unfreeze()


def test_what_is_there_at_the_start_is_never_collected_again() -> None:
    interpreter.settle()
    frozen = gc.get_freeze_count()
    assert frozen > 10_000
    interpreter.settle()
    assert gc.get_freeze_count() <= frozen, "once a process: later garbage would never be freed"


def test_the_writer_waits_a_millisecond_for_the_interpreter() -> None:
    sys.setswitchinterval(0.005)
    interpreter.settle()
    assert sys.getswitchinterval() == pytest.approx(0.001)


def test_a_program_that_switches_faster_keeps_doing_so() -> None:
    sys.setswitchinterval(0.0005)
    interpreter.settle()
    assert sys.getswitchinterval() == pytest.approx(0.0005)
