"""Each example, run as it says it is run, against the simulator: what a collector receives of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection, connect

from support.otlp_sink import OtlpHttpSink
from support.received import ReceivedSpan, render_tree
from support.server import free_port
from voicespan.testing.simulator import Simulator
from voicespan.testing.tree import difference

pytestmark = pytest.mark.e2e

REPOSITORY = Path(__file__).parents[2]
QUESTION = REPOSITORY / "app/voicespan_server/demo_audio/01-navigate.wav"
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module", autouse=True)
def _distro() -> None:
    if os.environ.get("VOICESPAN_REQUIRE_ALL") != "1":
        pytest.importorskip("opentelemetry.distro", reason="opentelemetry-instrument sets up no SDK without it")


@pytest.fixture
def sink() -> Iterator[OtlpHttpSink]:
    with OtlpHttpSink() as running:
        yield running


Run = Callable[..., subprocess.CompletedProcess[str]]


def environment(simulator: Simulator, sink: OtlpHttpSink) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | simulator.environment() | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": sink.base_url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_SERVICE_NAME": "example",
        "VOICESPAN_RAISE": "1",
    }  # fmt: skip


@pytest.fixture
def run(gemini_simulator: Simulator, sink: OtlpHttpSink) -> Run:
    def run(*command: str, env: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [BIN / command[0], *command[1:]],
            env=environment(gemini_simulator, sink) | dict(env),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done

    return run


def assert_tree(spans: list[ReceivedSpan], expected: str) -> None:
    wrong = difference(expected, spans)
    assert not wrong, f"\n{wrong}"


CALL = """
    WebSocket Session [session.id=* voicespan.session.turns=1 voicespan.session.close_initiator=server status=UNSET]
      Live Connection 1 [kind=CLIENT]
      Turn 1 [kind=CLIENT voicespan.turn.end_reason=completed voicespan.turn.start_source=*
              gen_ai.usage.output_tokens=* voicespan.time_to_first_audio=* voicespan.backend=simulator]
        tool-navigate_to_location [voicespan.tool.outcome=ok]
""".replace("\n              ", " ")


def test_a_program_that_knows_nothing_of_it(run: Run, sink: OtlpHttpSink, tmp_path: Path) -> None:
    """The 30 lines of google-genai's documentation, under opentelemetry-instrument."""
    answer = tmp_path / "answer.wav"
    run("opentelemetry-instrument", sys.executable, "examples/live_call.py", str(QUESTION), str(answer))
    assert_tree(sink.spans.all(), CALL)
    assert {span.resource["service.name"] for span in sink.spans.all()} == {"example"}
    assert "voicespan.turns" in {metric.name for metric in sink.metrics.all()}
    assert "voicespan.session.summary" in {log.event_name for log in sink.logs.all()}
    with wave.open(str(answer)) as spoken:
        heard_s = spoken.getnframes() / spoken.getframerate()
    [turn] = [span for span in sink.spans.all() if span.name == "Turn 1"]
    assert turn.attributes["voicespan.audio.output_duration"] == pytest.approx(heard_s)


def test_a_typed_conversation(run: Run, sink: OtlpHttpSink) -> None:
    done = run(
        "opentelemetry-instrument", sys.executable, "examples/typed_chat.py", "Where is a cafe?", "Thank you!",
        env={"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY"},
    )  # fmt: skip
    assert_tree(
        sink.spans.all(),
        """
        WebSocket Session [voicespan.session.turns=2]
          Live Connection 1
          Turn 1 [voicespan.turn.start_source=client_content voicespan.turn.end_reason=completed]
          Turn 2 [voicespan.turn.start_source=client_content voicespan.turn.end_reason=completed]
        """,
    )
    [turn] = [span for span in sink.spans.all() if span.name == "Turn 1"]
    assert "Where is a cafe?" in str(turn.attributes["gen_ai.input.messages"])
    [answer] = json.loads(str(turn.attributes["gen_ai.output.messages"]))
    assert answer["parts"][0]["content"] == done.stdout.splitlines()[0]


NEVER_LEAVES = """
import asyncio
from google import genai
async def main():
    opened = genai.Client().aio.live.connect(model="gemini-3.8-live")
    return opened, await opened.__aenter__()
loop = asyncio.new_event_loop()
kept = loop.run_until_complete(main())
"""


def test_a_session_that_is_never_left_ends_with_the_process(run: Run, sink: OtlpHttpSink) -> None:
    run("opentelemetry-instrument", sys.executable, "-c", NEVER_LEAVES)
    assert_tree(
        sink.spans.all(),
        """
        WebSocket Session [voicespan.session.close_initiator=process status=UNSET]
          Live Connection 1
        """,
    )


def test_the_same_program_switched_off(run: Run, sink: OtlpHttpSink, tmp_path: Path) -> None:
    program = ("opentelemetry-instrument", sys.executable, "examples/live_call.py", str(QUESTION))
    run(*program, str(tmp_path / "1.wav"), env={"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "gemini_live"})
    run(*program, str(tmp_path / "2.wav"), env={"OTEL_SDK_DISABLED": "true"})
    assert sink.spans.all() == []


def test_the_same_program_without_any_of_it(run: Run, tmp_path: Path) -> None:
    run(Path(sys.executable).name, "examples/live_call.py", str(QUESTION), str(tmp_path / "answer.wav"))


def test_one_line_of_instrumentation(run: Run) -> None:
    done = run(Path(sys.executable).name, "examples/one_line.py", str(QUESTION))
    decoder, text, spans = json.JSONDecoder(), done.stdout, []
    while text := text.lstrip():
        span, end = decoder.raw_decode(text)
        spans.append(span)
        text = text[end:]
    assert [span["name"] for span in spans] == ["Live Connection 1", "Turn 1", "WebSocket Session"]
    assert {span["attributes"]["session.id"] for span in spans} == {"call-1"}
    assert {span["attributes"]["user.id"] for span in spans} == {"user-1"}


def test_calls_that_are_kept_can_be_looked_at_and_are_sent(run: Run, sink: OtlpHttpSink, tmp_path: Path) -> None:
    """The store, shown by the command line; the spans are with the receiver when the program ends."""
    store = tmp_path / "calls.db"
    run(Path(sys.executable).name, "examples/with_store.py", str(QUESTION), str(store))
    assert_tree(sink.spans.all(), CALL)
    reading = {"VOICESPAN_STORE_PATH": str(store)}
    [listed] = json.loads(run("voicespan", "traces", "list", "--json", env=reading).stdout)
    assert (listed["name"], listed["turns"], listed["spans"]) == ("WebSocket Session", 1, 4)
    assert "tool-navigate_to_location" in run("voicespan", "traces", "show", listed["trace_id"], env=reading).stdout
    assert json.loads(run("voicespan", "store", "status", "--json", env=reading).stdout)["open_sessions"] == 0


def test_the_explicit_api(run: Run, sink: OtlpHttpSink) -> None:
    switch = ("--disabled_instrumentations", "gemini_live")
    run("opentelemetry-instrument", *switch, sys.executable, "examples/explicit.py", str(QUESTION))
    assert_tree(
        sink.spans.all(),
        """
        WebSocket Session [session.id=call-1 user.id=user-1]
          Live Connection 1
          Turn 1 [voicespan.turn.end_reason=completed voicespan.turn.start_source=*]
            tool-navigate_to_location [voicespan.tool.outcome=ok]
              look up in the map [tool=navigate_to_location]
        """,
    )


def test_a_socket_of_its_own(run: Run, sink: OtlpHttpSink, gemini_simulator: Simulator) -> None:
    url = gemini_simulator.base_url.replace("https", "wss")
    run("opentelemetry-instrument", sys.executable, "examples/own_socket.py", str(QUESTION), env={"GEMINI_URL": url})
    assert_tree(
        sink.spans.all(),
        """
        WebSocket Session
          Live Connection 1
          Turn 1 [voicespan.turn.end_reason=completed gen_ai.usage.output_tokens=* voicespan.time_to_first_audio=*]
        """,
    )


@contextmanager
def serving(env: Mapping[str, str], log: Path) -> Iterator[int]:
    """The FastAPI example under opentelemetry-instrument."""
    port = free_port()
    command = [BIN / "opentelemetry-instrument", BIN / "uvicorn", "examples.fastapi_app:app", "--port", str(port)]
    with log.open("wb") as written:
        process = subprocess.Popen(command, env=dict(env), cwd=REPOSITORY, stdout=written, stderr=written)
        try:
            yield port
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(20)


def dialed(port: int, log: Path) -> ClientConnection:
    """A connection, once it listens."""
    import time

    deadline = time.monotonic() + 30
    while True:
        try:
            return connect(f"ws://127.0.0.1:{port}/voice")
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)


def speak_until_answered(socket: ClientConnection) -> int:
    """Says the question; the bytes of the answer."""
    with wave.open(str(QUESTION)) as recording:
        pcm = recording.readframes(recording.getnframes()) + bytes(2 * 16_000 * 2)
    for begin in range(0, len(pcm), 3200):
        socket.send(pcm[begin : begin + 3200])
    heard = 0
    while True:
        received = socket.recv(timeout=30)
        if isinstance(received, str):
            assert json.loads(received) == {"turn": "complete"}
            return heard
        heard += len(received)


@pytest.mark.parametrize("excluded", [True, False])
def test_somebody_elses_fastapi(
    gemini_simulator: Simulator, sink: OtlpHttpSink, tmp_path: Path, *, excluded: bool
) -> None:
    env = environment(gemini_simulator, sink)
    if excluded:
        env["OTEL_PYTHON_FASTAPI_EXCLUDED_URLS"] = "/voice"
    log = tmp_path / "uvicorn.log"
    with serving(env, log) as port:
        with dialed(port, log) as socket:
            assert speak_until_answered(socket) > 10_000
        spans = sink.spans.wait_for(lambda spans: any(s.name == "WebSocket Session" for s in spans))
        if not excluded:
            spans = sink.spans.wait_for(lambda spans: any(s.kind == "SERVER" for s in spans))
    ours = [span for span in spans if span.scope == "voicespan"]
    assert_tree(
        ours,
        """
        WebSocket Session [voicespan.session.close_initiator=server status=UNSET]
          Live Connection 1
          Turn 1 [voicespan.turn.end_reason=completed]
        """,
    )
    [session] = [span for span in ours if span.name == "WebSocket Session"]
    [parent] = [span for span in spans if span.span_id == session.parent_span_id] or [None]
    assert (parent.kind if parent else None) == (None if excluded else "SERVER"), render_tree(spans)
