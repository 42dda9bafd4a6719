"""A process that forks, as a preloading server does: the child tells its own, and does not keep its parent alive."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from support.otlp_sink import OtlpHttpSink
from voicespan.sdk.database import open_for_reading
from voicespan.sdk.owner import living_owners
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Store

PROGRAM = """
import os, sys
from pathlib import Path
from voicespan.sdk.pipeline import configure

environ = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": sys.argv[2], "OTEL_METRICS_EXPORTER": "none"}
pipeline = configure(Path(sys.argv[1]), service_version="1", set_global=False, environ=environ)
tracer = pipeline.tracer_provider.get_tracer("t")
tracer.start_span("before the fork").end()
pipeline.store.flush(5)
child = os.fork()
name = "parent" if child else "child"
tracer.start_span(f"{name} after the fork").end()
pipeline.store.flush(5)
if child:
    print(child, flush=True)
    sys.stdin.read()
else:
    assert pipeline.shutdown(10)
    print("done", flush=True)
    sys.stdin.read()
    os._exit(0)
"""

WHILE_IT_WRITES = """
import faulthandler, os, sys, time
from pathlib import Path
from voicespan.sdk.pipeline import configure

pipeline = configure(Path(sys.argv[1]), service_version="1", set_global=False, environ={})
tracer = pipeline.tracer_provider.get_tracer("t")
for n in range(int(sys.argv[2])):
    for _ in range(20):
        tracer.start_span("the parent's").end()
    time.sleep(n % 12 / 1000)  # the writer gathers for 5 ms, and then it writes
    child = os.fork()
    if not child:
        faulthandler.dump_traceback_later(20, exit=True)
        tracer.start_span("a child's").end()
        os._exit(0 if pipeline.store.flush(15) else 1)
    if status := os.waitpid(child, 0)[1]:
        sys.exit(f"child {n} ended with {status}")
sys.exit(0 if pipeline.shutdown(10) else 1)
"""

THREADS_AT_ONCE = """
import os, sys, threading
from pathlib import Path
from voicespan.sdk.pipeline import configure

pipeline = configure(Path(sys.argv[1]), service_version="1", set_global=False, environ={})
tracer = pipeline.tracer_provider.get_tracer("t")
for n in range(int(sys.argv[2])):
    if os.fork():
        if status := os.wait()[1]:
            sys.exit(f"child {n} ended with {status}")
        continue
    together = threading.Barrier(6)

    def tell():
        together.wait()
        for _ in range(5):
            tracer.start_span("a thread's").end()

    threads = [threading.Thread(target=tell) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os._exit(0 if pipeline.shutdown(10) else 1)
sys.exit(0 if pipeline.shutdown(10) else 1)
"""

A_CHILD_THAT_TELLS_NOTHING = """
import os, sys, time
from pathlib import Path
from voicespan.sdk.pipeline import configure

pipeline = configure(Path(sys.argv[1]), service_version="1", set_global=False, environ={})
child = os.fork()
if child:
    if sys.argv[2] == "ends":
        os.wait()
        print(child, flush=True)
    sys.stdin.read()
elif sys.argv[2] == "ends":
    os._exit(0 if pipeline.shutdown(10) else 1)
print(os.getpid(), flush=True)  # the fork is over for the child too
time.sleep(60)
"""

pytestmark = pytest.mark.e2e


def test_parent_and_child_each_tell_their_own_and_the_parents_death_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "traces.db"
    with OtlpHttpSink() as receiver:
        command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(path), f"{receiver.base_url}/v1/traces"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            done, child = sorted((parent.stdout.readline(), parent.stdout.readline()), reverse=True)
            assert done == "done\n"
            received = receiver.spans.wait_count(3)
            assert sorted(span.name for span in received) == [
                "before the fork",
                "child after the fork",
                "parent after the fork",
            ]
            parent.kill()
            parent.wait()
            # The child lives still, and holds nothing of its parent's: who comes finds the parent gone.
            store = Store(path, send=[Signal.TRACES])
            assert [lock.name for lock in tmp_path.glob("*.lock")] == [f"{path.name}.{store._owner.name}.lock"]
            os.kill(int(child), signal.SIGKILL)
            store.close()


def test_a_child_never_waits_for_what_a_thread_of_its_parents_held(tmp_path: Path) -> None:
    path, forks = tmp_path / "traces.db", 200
    command = [sys.executable, "-c", WHILE_IT_WRITES, str(path), str(forks)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    with open_for_reading(path) as database:
        counted = database.execute("SELECT name, count(*) FROM records GROUP BY name ORDER BY name").fetchall()
    database.close()
    assert counted == [("a child's", forks), ("the parent's", 20 * forks)]


def test_threads_of_a_child_that_tell_at_once_begin_one_store_and_lose_nothing(tmp_path: Path) -> None:
    path, forks = tmp_path / "traces.db", 20
    command = [sys.executable, "-c", THREADS_AT_ONCE, str(path), str(forks)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with open_for_reading(path) as database:
        assert database.execute("SELECT count(*) FROM records").fetchone() == (30 * forks,)
    database.close()


@pytest.mark.parametrize("what", ["ends", "stays"])
def test_a_child_that_tells_nothing_neither_ends_its_parents_store_nor_outlives_it(tmp_path: Path, what: str) -> None:
    path = tmp_path / "traces.db"
    command = [sys.executable, "-c", A_CHILD_THAT_TELLS_NOTHING, str(path), what]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert len(living_owners(path)) == 1, "the parent"
        parent.kill()
        parent.wait()
        assert living_owners(path) == set()
    if what == "stays":
        os.kill(child, signal.SIGKILL)
