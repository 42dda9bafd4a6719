"""What a serving process asks of the interpreter."""

import ctypes
import gc
import importlib
import mmap
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from voicespan_server import interpreter


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    interval_s = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval_s)
    gc.unfreeze()
    gc.enable()


def test_what_is_there_at_the_start_is_never_collected_again() -> None:
    interpreter.settle()
    frozen = gc.get_freeze_count()
    assert frozen > 10_000
    interpreter.settle()
    assert gc.get_freeze_count() <= frozen, "once a process: later garbage would never be freed"


def test_garbage_is_looked_for_from_when_all_has_begun() -> None:
    interpreter.begin()
    assert not gc.isenabled()
    interpreter.settle()
    assert gc.isenabled()


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that another can do without, and one that the next cannot."""
    for name, text in {
        "heavy": "",
        "easy": "try:\n    import heavy\nexcept ImportError:\n    heavy = None",
        "fond": "import heavy",
    }.items():
        (tmp_path / f"{name}_of_test.py").write_text(text.replace("heavy", "heavy_of_test"))
        monkeypatch.delitem(sys.modules, f"{name}_of_test", raising=False)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("modules")
def test_what_a_module_can_do_without_is_not_imported_for_it_but_for_others() -> None:
    interpreter.import_without("heavy_of_test", "easy_of_test")
    assert sys.modules["easy_of_test"].heavy_of_test is None
    assert "heavy_of_test" not in sys.modules
    importlib.import_module("heavy_of_test")


@pytest.mark.usefixtures("modules")
def test_what_a_module_needs_is_imported_for_it() -> None:
    interpreter.import_without("heavy_of_test", "fond_of_test")
    assert sys.modules["fond_of_test"].heavy_of_test is sys.modules["heavy_of_test"]


@pytest.mark.usefixtures("modules")
def test_what_is_there_already_is_left_there() -> None:
    there = importlib.import_module("heavy_of_test")
    interpreter.import_without("heavy_of_test", "easy_of_test")
    assert sys.modules["easy_of_test"].heavy_of_test is there


def test_nobody_waits_long_for_the_interpreter() -> None:
    sys.setswitchinterval(0.005)
    interpreter.settle()
    assert sys.getswitchinterval() == pytest.approx(0.0002)


def test_a_program_that_switches_faster_keeps_doing_so() -> None:
    sys.setswitchinterval(0.0001)
    interpreter.settle()
    assert sys.getswitchinterval() == pytest.approx(0.0001)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library's own ways")
def test_a_connections_buffer_has_pages_of_its_own_and_what_is_read_has_none() -> None:
    interpreter.settle()
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]

    def own_pages() -> int:
        blocks = [libc.malloc(interpreter.BUFFER_BYTES) for _ in range(100)]
        for block in blocks:
            libc.free(block)
        return sum(block % mmap.PAGESIZE == 2 * ctypes.sizeof(ctypes.c_size_t) for block in blocks)

    filling = [
        libc.malloc(interpreter.BUFFER_BYTES) for _ in range(500)
    ]  # what other tests have freed; none is touched
    for _ in range(2):
        with interpreter.buffers_of_their_own():
            with interpreter.buffers_of_their_own():
                pass
            assert own_pages() == 100, "another connection is made still"
        assert own_pages() < 10
    for block in filling:
        libc.free(block)
