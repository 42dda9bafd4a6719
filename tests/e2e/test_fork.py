"""A process that forks, as a preloading server does: the child tells its own, and does not keep its parent alive."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from support.otlp_sink import OtlpHttpSink
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
