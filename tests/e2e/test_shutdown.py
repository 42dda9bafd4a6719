"""How a server ends: at once, after its calls, by a second signal, with its workers, without their supervisor."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from uvicorn.config import STARTUP_FAILURE
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from support.caller import ask, call
from support.http_server import HttpServer, Request, Response
from support.otlp_sink import OtlpHttpSink
from support.server import ServerProcess
from voicespan_server.client import CallError

pytestmark = pytest.mark.e2e


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


async def until(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


async def test_running_calls_may_finish_and_new_ones_are_refused(
    environ: dict[str, str], receiver: OtlpHttpSink
) -> None:
    with ServerProcess({**environ, "VOICESPAN_DRAIN_S": "30"}) as server:
        assert status_of(server.url + "/readyz") == 200
        async with call(server.voice_url) as caller:
            await ask(caller)
            server.process.send_signal(signal.SIGTERM)
            await until(lambda: status_of(server.url + "/readyz") == 503, "not draining")
            with pytest.raises(InvalidStatus) as refused:
                async with connect(server.voice_url, subprotocols=["voice.v1"]):  # type: ignore[list-item]
                    pass
            assert refused.value.response.status_code == 503
            assert status_of(server.url + "/healthz") == 200, "it lives, it only wants no more"
            await ask(caller)
            await caller.hang_up()
        status = await asyncio.to_thread(server.process.wait, 20)
    assert status == -signal.SIGTERM
    spans = receiver.spans.all()
    session = next(s for s in spans if s.name == "WebSocket Session")
    assert session.attributes["voicespan.session.close_initiator"] == "client"
    assert session.attributes["voicespan.session.turns"] == 2
    refusals = [s for s in spans if s.attributes.get("http.response.status_code") == 503]
    assert [(s.name, s.status) for s in refusals] == [("Voice Session", "ERROR")]


@pytest.fixture
def hangups() -> Iterator[None]:
    """Programs that are started hear of a terminal's end, also where the tests run under nohup."""
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, former)


@pytest.mark.usefixtures("hangups")
async def test_a_terminal_that_is_closed_or_interrupted_cuts_no_call_that_may_finish(
    environ: dict[str, str], receiver: OtlpHttpSink
) -> None:
    with_a_simulator_of_its_own = {k: v for k, v in environ.items() if not k.startswith("VOICESPAN_SIMULATOR_")}
    for number in (signal.SIGHUP, signal.SIGINT):
        receiver.spans.clear()
        server = ServerProcess({**with_a_simulator_of_its_own, "VOICESPAN_DRAIN_S": "30"})
        with server:
            async with call(server.voice_url) as caller:
                os.killpg(server.process.pid, number)  # as a terminal does: to all programs in it
                await until(lambda url=server.url: status_of(url + "/readyz") == 503, "not draining")  # type: ignore[misc]
                await ask(caller)
                await caller.hang_up()
            await asyncio.to_thread(server.process.wait, 20)
        session = next(s for s in receiver.spans.all() if s.name == "WebSocket Session")
        assert session.attributes["voicespan.session.turns"] == 1
        assert session.attributes["voicespan.session.connections"] == 1


async def test_calls_that_outlast_the_time_are_closed_as_by_a_restart(
    environ: dict[str, str], receiver: OtlpHttpSink
) -> None:
    with ServerProcess({**environ, "VOICESPAN_DRAIN_S": "0.5"}) as server:
        async with call(server.voice_url) as caller:
            await ask(caller)
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(CallError, match="1012"):
                await caller.wait_for(lambda c: False)
        assert await asyncio.to_thread(server.process.wait, 20) == -signal.SIGTERM
    session = next(s for s in receiver.spans.all() if s.name == "WebSocket Session")
    assert session.attributes["voicespan.session.close_code"] == 1012
    assert session.attributes["voicespan.session.close_initiator"] == "process"


async def test_a_second_signal_ends_it_at_once(environ: dict[str, str], receiver: OtlpHttpSink) -> None:
    with ServerProcess({**environ, "VOICESPAN_DRAIN_S": "600"}) as server:
        async with call(server.voice_url) as caller:
            await ask(caller)
            server.process.send_signal(signal.SIGTERM)
            await until(lambda: status_of(server.url + "/readyz") == 503, "not draining")
            assert await asyncio.to_thread(server.signal, signal.SIGTERM) == -signal.SIGTERM
        # What it left open is closed by the next.
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(
            receiver.spans.wait_for, lambda spans: any(s.name == "WebSocket Session" for s in spans)
        )


async def test_a_hung_receiver_delays_the_end_by_a_bound(environ: dict[str, str]) -> None:
    released = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(_: Request) -> Response:
        asyncio.run_coroutine_threadsafe(released.wait(), loop).result(400)
        return Response(200)

    patient = {"OTEL_EXPORTER_OTLP_TIMEOUT": "300"}
    with (
        HttpServer(hang) as hung,
        ServerProcess({**environ, **patient, "OTEL_EXPORTER_OTLP_ENDPOINT": hung.url}) as server,
    ):
        async with call(server.voice_url) as caller:
            await ask(caller)
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(CallError, match="1012"):
                await caller.wait_for(lambda c: False)
        # The providers have five seconds, the rest is uvicorn's and this machine's; the receiver would take minutes.
        assert await asyncio.to_thread(server.process.wait, 60) == -signal.SIGTERM
        assert "not all could be sent; what is left stays in" in server.log
        released.set()


class ReloadingServer(ServerProcess):
    """`uvicorn --reload`, as a developer runs it; touching a Python file in `watched` restarts the server."""

    @property
    def watched(self) -> Path:
        return self.folder / "watched"

    def command(self) -> list[str]:
        self.watched.mkdir()
        options = ("--factory", "--reload", "--reload-dir", str(self.watched), "--ws", "websockets-sansio")
        return [sys.executable, "-m", "uvicorn", "voicespan_server.app:create_app", *options, "--port", str(self.port)]


async def test_a_reload_closes_calls_and_brings_their_spans_out(
    environ: dict[str, str], receiver: OtlpHttpSink
) -> None:
    with ReloadingServer(environ) as server:
        async with call(server.voice_url) as caller:
            await ask(caller)
            (server.watched / "changed.py").touch()
            with pytest.raises(CallError, match="1012"):
                await caller.wait_for(lambda c: False)
        received = await asyncio.to_thread(
            receiver.spans.wait_for, lambda spans: any(s.name == "WebSocket Session" for s in spans)
        )
        session = next(s for s in received if s.name == "WebSocket Session")
        assert session.attributes["voicespan.session.close_initiator"] == "process"
        assert "error.type" not in session.attributes, "it ended its session itself"
        await until(lambda: answers(server.url + "/healthz"), "it did not come back")


def answers(url: str) -> bool:
    try:
        return status_of(url) == 200
    except OSError:
        return False


async def test_a_start_that_fails_lets_go_of_the_store(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voicespan_server import app as app_module
    from voicespan_server.settings import Settings

    def fail() -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr(app_module, "end_with_parent", fail)
    monkeypatch.setattr("opentelemetry.trace.set_tracer_provider", lambda provider: None)
    monkeypatch.setattr("opentelemetry.metrics.set_meter_provider", lambda provider: None)
    monkeypatch.setattr("opentelemetry._logs.set_logger_provider", lambda provider: None)
    application = app_module.create_app(Settings(backend="gemini", gemini_api_key="k", store_path=tmp_path / "t.db"))  # type: ignore[arg-type]
    assert len(lock_files(tmp_path)) == 1
    with pytest.raises(RuntimeError, match="no such luck"):
        async with application.router.lifespan_context(application):
            pass
    assert lock_files(tmp_path) == []


def lock_files(folder: Path) -> list[Path]:
    return list(folder.glob("*.lock"))


def children_of(pid: int) -> set[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return {int(line) for line in found.stdout.split()}


def workers_of(pid: int) -> set[int]:
    return {child for child in children_of(pid) if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()}


async def two_workers_of(server: ServerProcess) -> set[int]:
    await until(lambda: len(workers_of(server.process.pid)) == 2, "no two workers")
    return workers_of(server.process.pid)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_that_cannot_start_end_the_server_as_a_failure(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text("async def app(scope, receive, send):\n    raise RuntimeError('not today')\n")
    program = (
        "import uvicorn\nfrom voicespan_server import workers\n"
        "workers.serve(uvicorn.Config('failing:app', workers=2, port=0, lifespan='on'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == STARTUP_FAILURE, done.stderr
    assert "RuntimeError: not today" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
async def test_workers_end_with_their_supervisor_and_bring_their_spans_out(
    environ: dict[str, str], receiver: OtlpHttpSink, number: signal.Signals
) -> None:
    with ServerProcess(environ, "--workers", "2") as server:
        workers = await two_workers_of(server)
        async with call(server.voice_url) as caller:
            await ask(caller)
            assert await asyncio.to_thread(server.signal, number) == 0  # uvicorn's own
            with pytest.raises(CallError, match="1012"):
                await caller.wait_for(lambda c: False)
        assert not any(runs(pid) for pid in workers)
    assert {"Turn 1", "WebSocket Session"} <= {s.name for s in receiver.spans.all()}
    assert "voicespan.session.summary" in {log.event_name for log in receiver.logs.all()}


async def test_a_second_signal_to_the_supervisor_ends_workers_that_wait_for_calls(
    environ: dict[str, str], receiver: OtlpHttpSink
) -> None:
    with ServerProcess({**environ, "VOICESPAN_DRAIN_S": "600"}, "--workers", "2") as server:
        workers = await two_workers_of(server)
        async with call(server.voice_url) as caller:
            await ask(caller)
            await asyncio.to_thread(receiver.spans.wait_for, lambda spans: any(s.name == "Turn 1" for s in spans))
            server.process.send_signal(signal.SIGTERM)
            await until(lambda: sum(map(runs, workers)) == 1, "the worker without a call did not end")
            assert await asyncio.to_thread(server.signal, signal.SIGTERM) == 0
        assert not any(runs(pid) for pid in workers)


async def test_a_supervisor_that_looks_only_twice_a_second_counts_signals_that_came_together(
    environ: dict[str, str],
) -> None:
    with ServerProcess({**environ, "VOICESPAN_DRAIN_S": "600"}, "--workers", "2") as server:
        workers = await two_workers_of(server)
        async with call(server.voice_url) as caller:
            await ask(caller)
            server.process.send_signal(signal.SIGHUP)  # asks for nothing that is still to be had
            server.process.send_signal(signal.SIGINT)  # of another kind: two of one may come as one
            assert await asyncio.to_thread(server.signal, signal.SIGTERM) == 0
        assert not any(runs(pid) for pid in workers)


async def test_workers_whose_supervisor_was_killed_end_too(environ: dict[str, str], receiver: OtlpHttpSink) -> None:
    with ServerProcess(environ, "--workers", "2") as server:
        workers = await two_workers_of(server)
        async with call(server.voice_url) as caller:
            await ask(caller)
            server.process.kill()
            with pytest.raises(CallError, match="1012"):
                await caller.wait_for(lambda c: False)
        await until(lambda: not any(runs(pid) for pid in workers), "workers were left behind")
    session = next(s for s in receiver.spans.all() if s.name == "WebSocket Session")
    assert session.attributes["voicespan.session.close_initiator"] == "process"


async def test_a_living_worker_closes_the_session_of_one_that_was_killed(
    environ: dict[str, str], receiver: OtlpHttpSink
) -> None:
    with ServerProcess(environ, "--workers", "2") as server:
        await until(lambda: len(workers_of(server.process.pid)) == 2, "no two workers")
        async with call(server.voice_url) as caller:
            await ask(caller)
            port = server.port
            [holder] = [pid for pid in workers_of(server.process.pid) if connections(pid, port)]
            os.kill(holder, signal.SIGKILL)
            received = await asyncio.to_thread(
                receiver.spans.wait_for, lambda spans: any(s.name == "WebSocket Session" for s in spans)
            )
        session = next(s for s in received if s.name == "WebSocket Session")
        assert session.attributes["error.type"] == "process_died"
        assert session.trace_id == caller.trace_id


def connections(pid: int, port: int) -> int:
    """How many accepted connections on a local port a process holds."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        target = str(descriptor.readlink())
        if target.startswith("socket:["):
            inodes.add(target.removeprefix("socket:[").rstrip("]"))
    found = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        local, state, inode = columns[1], columns[3], columns[9]
        found += int(local.split(":")[1], 16) == port and state == "01" and inode in inodes
    return found
