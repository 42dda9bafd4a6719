"""`voicespan loadtest` and `voicespan call` against a server that runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.server import ServerProcess
from voicespan_simulator.process import SimulatorProcess

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def server(simulator: SimulatorProcess) -> Iterator[ServerProcess]:
    """Its model does not wait with an answer until the one before has been heard."""
    env = {
        "VOICESPAN_BACKEND": "simulator",
        "VOICESPAN_SIMULATOR_URL": simulator.base_url,
        "VOICESPAN_SIMULATOR_CA_FILE": str(simulator.ca_file),
    }
    with ServerProcess(env) as running:
        yield running


def voicespan(folder: Path, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "voicespan_server.cli", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        input=typed,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_load_test_goes_level_by_level_and_reports_in_json(tmp_path: Path, server: ServerProcess) -> None:
    options = ("--calls", "2", "--to", "4", "--seconds", "10", "--settle-s", "1", "--slower-ms", "5000")
    done = voicespan(tmp_path, "loadtest", "--url", server.voice_url, *options, "--json")
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert [level["calls"] for level in report["levels"]][:1] == [2]
    for level in report["levels"]:
        assert level["errors"] == {}
        assert level["answers"] > 0
        assert level["first_audio_ms"]["count"] > 0
        assert level["connect_ms"]["count"] >= 2
        assert level["audio_s"] > 0
    # A level may be given up for the sake of this machine alone, never for the server's.
    faults = [fault for level in report["levels"] for fault in level["faults"]]
    assert all("own machine" in fault or "silent" in fault for fault in faults)
    assert (report["knee"] == 4) == (not faults)
    assert "first audio ms" in done.stderr
    assert server.get("/healthz")["calls"] == 0


def test_without_a_server_a_load_test_says_so_and_does_not_begin(tmp_path: Path) -> None:
    done = voicespan(tmp_path, "loadtest", "--url", "ws://127.0.0.1:1/ws/voice")
    assert done.returncode == 2
    assert "ws://127.0.0.1:1/ws/voice" in done.stderr
    assert done.stdout == ""


@pytest.fixture(scope="module")
def typed() -> Iterator[ServerProcess]:
    with ServerProcess({"VOICESPAN_SIMULATOR_SCENARIO": "typed"}) as running:
        yield running


def test_words_can_be_typed_and_the_trace_is_printed(tmp_path: Path, typed: ServerProcess) -> None:
    done = voicespan(tmp_path, "call", "--url", typed.voice_url, "-t", "Hello there.", "-t", "Is there a cafe?")
    assert done.returncode == 0, done.stderr
    assert "I am a simulator" in done.stdout
    positions = [done.stdout.index(part) for part in ("search_nearby", "WebSocket Session", "Turn 2", "tool-search")]
    assert positions == sorted(positions)


def test_words_may_come_by_a_pipe_and_the_answer_as_json(tmp_path: Path, typed: ServerProcess) -> None:
    done = voicespan(tmp_path, "call", "--url", typed.voice_url, "--json", typed="Hello there.\n\nIs there a cafe?\n")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [m["turn"] for m in told["messages"] if m["type"] == "turn.completed"] == [1, 2]
    assert told["close"]["code"] == 1000
    assert told["trace_id"] == told["spans"][0]["trace_id"]
    assert "Turn 2" in {span["name"] for span in told["spans"]}


def test_a_refused_call_ends_with_status_1(tmp_path: Path, server: ServerProcess) -> None:
    done = voicespan(tmp_path, "call", "--url", server.url.replace("http", "ws") + "/ws/nothing", "-t", "hello")
    assert done.returncode == 1
    assert "HTTP 403" in done.stderr or "HTTP 404" in done.stderr


def test_a_server_that_asks_for_a_key_is_called_with_one(tmp_path: Path, simulator: SimulatorProcess) -> None:
    secret = "s3cret-of-sixteen-or-more"
    env = {
        "VOICESPAN_API_KEYS": f"tests:{secret}",
        "VOICESPAN_BACKEND": "simulator",
        "VOICESPAN_SIMULATOR_URL": simulator.base_url,
        "VOICESPAN_SIMULATOR_CA_FILE": str(simulator.ca_file),
        "VOICESPAN_SIMULATOR_SCENARIO": "typed",
    }
    with ServerProcess(env) as server:
        ask = ("call", "--url", server.voice_url, "-t", "Hello there.")
        done = voicespan(tmp_path, *ask, "--api-key", secret)
        assert done.returncode == 0, done.stderr
        assert "Turn 1" in done.stdout
        without = voicespan(tmp_path, *ask)
        assert (without.returncode, "unauthorized" in without.stderr) == (1, True), without.stderr
        wrong = voicespan(tmp_path, *ask, "--api-key", "another-of-sixteen-or-more")
        assert (wrong.returncode, "HTTP 401" in wrong.stderr) == (1, True), wrong.stderr
