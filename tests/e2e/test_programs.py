"""Other people's programs, unmodified, under opentelemetry-instrument and against the simulator.

With VOICESPAN_PROGRAMS=1: each gets an environment of its own under ~/.cache/voicespan/programs, of some hundred
megabytes, which is kept. docs/instrumentation.md has a table of what was found.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.otlp_sink import OtlpHttpSink
from voicespan.testing.simulator import Simulator
from voicespan.testing.tree import difference

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.environ.get("VOICESPAN_PROGRAMS") != "1", reason="VOICESPAN_PROGRAMS=1 runs it"),
]

REPOSITORY = Path(__file__).parents[2]
QUESTION = REPOSITORY / "app/voicespan_server/demo_audio/01-navigate.wav"
CACHE = Path.home() / ".cache/voicespan/programs"


@dataclass(frozen=True)
class Program:
    """Somebody's framework, what to install for it, and the spans that come of one spoken turn.

    Of the spans of others only those of `beside` are compared.
    """

    name: str
    requirements: tuple[str, ...]
    expected: str
    beside: str = ""


TURN = """\
WebSocket Session [session.id=* voicespan.session.turns=1 voicespan.session.tool_calls=1 status=UNSET]
  Live Connection 1
  Turn 1 [voicespan.turn.end_reason=completed gen_ai.usage.output_tokens=* voicespan.time_to_first_audio=*]
    tool-navigate_to_location [voicespan.tool.outcome=ok]
"""
# LiveKit declares its tools as NON_BLOCKING: they may outlive their turn.
BESIDE = TURN.replace("    tool-navigate_to_location", "  tool-navigate_to_location")
PROGRAMS = [
    Program("adk", ("google-adk==2.13.0",), TURN),
    Program("pipecat", ("pipecat-ai[google]==1.14.0",), TURN),
    Program("livekit", ("livekit-agents[google]==1.8.9",), BESIDE),
    Program(
        "httpx",
        ("google-genai==3.6.1", "httpx==0.28.1", "opentelemetry-instrumentation-httpx==0.66b1"),
        TURN + "      GET [kind=CLIENT]\n",
        "opentelemetry.instrumentation.httpx",
    ),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    subprocess.run(run, cwd=REPOSITORY, check=True, capture_output=True)
    [made] = folder.glob("*.whl")
    return made


def environment_of(program: Program, wheel: Path) -> Path:
    """Its folder of commands: made once, with this library anew each time."""
    folder = CACHE / program.name
    pip = [folder / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if not (folder / "made").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        requirements = [*program.requirements, "opentelemetry-distro", "opentelemetry-exporter-otlp"]
        subprocess.run([*pip, *requirements], check=True)
        (folder / "made").touch()
    subprocess.run([*pip, "--force-reinstall", "--no-deps", wheel], check=True)
    return folder / "bin"


@pytest.fixture
def sink() -> Iterator[OtlpHttpSink]:
    with OtlpHttpSink() as running:
        yield running


def variables(simulator: Simulator, sink: OtlpHttpSink) -> Mapping[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME")}
    key = simulator.environment() | {"GOOGLE_API_KEY": "none"}
    key.pop("GEMINI_API_KEY")  # google-genai warns where both are set
    return kept | key | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": sink.base_url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "VOICESPAN_RAISE": "1",
    }  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_spoken_turn(program: Program, wheel: Path, gemini_simulator: Simulator, sink: OtlpHttpSink) -> None:
    commands = environment_of(program, wheel)
    script = REPOSITORY / f"tests/e2e/programs/{program.name}_live.py"
    done = subprocess.run(
        [commands / "opentelemetry-instrument", commands / "python", script, QUESTION],
        env=dict(variables(gemini_simulator, sink)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ours = [span for span in sink.spans.all() if span.scope in {"voicespan", program.beside}]
    wrong = difference(program.expected, ours)
    assert not wrong, f"\n{wrong}\n{done.stderr}"
