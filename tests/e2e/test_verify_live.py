"""`voicespan verify-live` with the simulator, the real collector and a stand-in for Langfuse: passing and failing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.collector import CollectorProcess
from support.langfuse_sink import LangfuseSink
from voicespan_simulator.process import SimulatorProcess

pytestmark = pytest.mark.e2e

SECRET = "sk-lf-01234567-89ab-cdef-0123-456789abcdef"
GEMINI_KEY = "AIza-verify-live-test"
# The command as it is, but for a microphone that runs twenty times faster than time.
PROGRAM = """
from functools import partial
from voicespan_server import cli, client
client.call = partial(client.call, pace=0.05)
cli.main()
"""


@pytest.fixture
def langfuse() -> Iterator[LangfuseSink]:
    with LangfuseSink(secret_key=SECRET, readable_after_s=1.0) as sink:
        yield sink


def verify(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, "verify-live", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "VOICESPAN_RAISE": "1", **env},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.fixture
def environ(collector_binary: Path, simulator: SimulatorProcess, langfuse: LangfuseSink) -> dict[str, str]:
    return {
        "VOICESPAN_BACKEND": "simulator",
        "VOICESPAN_SIMULATOR_URL": simulator.base_url,
        "VOICESPAN_SIMULATOR_CA_FILE": str(simulator.ca_file),
        "OTELCOL_BIN": str(collector_binary),
        "GEMINI_API_KEY": GEMINI_KEY,
        "VOICESPAN_MAX_AUDIO_SPEED": "0",  # it speaks as fast as this simulator, which waits for nothing
        "LANGFUSE_BASE_URL": langfuse.base_url,
        "LANGFUSE_PUBLIC_KEY": langfuse.public_key,
        "LANGFUSE_SECRET_KEY": langfuse.secret_key,
        # None of these must get in the way of the call that is verified.
        "OTEL_SDK_DISABLED": "true",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1",
    }


def assert_no_key(done: subprocess.CompletedProcess[str]) -> None:
    for key in (SECRET, GEMINI_KEY, "pk-lf-test"):
        assert key not in done.stdout + done.stderr


@pytest.mark.collector
def test_a_call_that_arrived_as_it_was_sent_passes_in_every_field(
    environ: dict[str, str], langfuse: LangfuseSink, tmp_path: Path
) -> None:
    done = verify(tmp_path, **environ)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    fields = [line for line in lines if line.startswith(("pass", "FAIL"))]
    assert lines[-1] == f"verify-live: {len(fields)} fields, 0 failed"
    told = "\n".join(fields)
    for name in (
        "observations", "tree", "root", "session id", "user id", "trace name", "tags", "environment", "version",
        "WebSocket Session: type", "WebSocket Session: metadata turns", "WebSocket Session: metadata cost",
        "WebSocket Session: input", "WebSocket Session: output", "Turn 1: type", "Turn 1: level", "Turn 1: model",
        "Turn 1: usage", "Turn 1: input tokens", "Turn 1: output tokens", "Turn 1: cost", "Turn 1: cost total",
        "Turn 1: completion start", "Turn 1: time to first token", "Turn 1: input", "Turn 1: output",
        "tool-search_nearby: type", "tool-search_nearby: input", "tool-search_nearby: output",
        "session: observations by the metrics API", "session: cost by the metrics API",
        "score: verify_live", "score: names of the session's own",
    ):  # fmt: skip
        assert f"pass  {name}: sent " in told, name
    assert "which is no Gemini" in done.stdout
    assert f"in Langfuse: {langfuse.base_url}/project/project-1/traces/" in done.stdout
    assert "Helsinki" not in done.stdout, "what was said is not printed"
    assert_no_key(done)
    assert list(tmp_path.rglob("*.db")) == [], "the user's own store is left alone"


@pytest.mark.collector
def test_what_langfuse_did_not_take_fails_and_the_collector_says_why(
    environ: dict[str, str], langfuse: LangfuseSink, tmp_path: Path
) -> None:
    langfuse.fail_next(500, times=1000)
    done = verify(tmp_path, "--deadline-s", "2", **environ)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAIL  observations: sent [" in done.stdout
    assert "FAIL  Turn 1: sent " in done.stdout
    assert "pass  score: verify_live: sent 1, arrived 1" in done.stdout, "scores take another way"
    assert "collector Exporting failed. Dropping data." in done.stdout
    assert "0 failed" not in done.stdout.splitlines()[-1]
    assert_no_key(done)


@pytest.mark.collector
def test_keys_that_langfuse_does_not_know_end_it_before_the_call(
    environ: dict[str, str], langfuse: LangfuseSink, tmp_path: Path
) -> None:
    wrong = "sk-lf-ffffffff-ffff-ffff-ffff-ffffffffffff"
    done = verify(tmp_path, **{**environ, "LANGFUSE_SECRET_KEY": wrong})
    assert done.returncode == 2, done.stdout + done.stderr
    assert "does not accept LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY" in done.stdout
    assert wrong not in done.stdout + done.stderr
    assert_no_key(done)
    assert langfuse.requests.all() == []


@pytest.mark.parametrize(
    ("env", "needed"),
    [
        ({}, ["GEMINI_API_KEY", "LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY"]),
        ({"GEMINI_API_KEY": GEMINI_KEY}, ["LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY"]),
        ({"LANGFUSE_PUBLIC_KEY": "pk-lf-test", "LANGFUSE_SECRET_KEY": SECRET}, ["GEMINI_API_KEY"]),
    ],
)
def test_without_keys_it_says_what_it_needs_and_does_nothing(
    env: dict[str, str], needed: list[str], tmp_path: Path
) -> None:
    done = verify(tmp_path, **env)
    assert done.returncode == 2, done.stdout + done.stderr
    told = done.stderr.splitlines()
    assert told[0] == "verify-live needs:"
    assert len(told) == len(needed) + 1
    assert all(line.startswith(name) for line, name in zip(told[1:], needed, strict=True))
    assert done.stdout == ""
    assert_no_key(done)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.collector
def test_a_collector_that_cannot_be_had_is_told(environ: dict[str, str], tmp_path: Path) -> None:
    done = verify(tmp_path, **{**environ, "OTELCOL_BIN": "/nowhere/otelcol"})
    assert done.returncode == 2, done.stdout + done.stderr
    assert "--otlp-endpoint" in done.stdout


@pytest.mark.collector
def test_a_collector_that_runs_already_can_be_named(
    environ: dict[str, str], collector: CollectorProcess, tmp_path: Path
) -> None:
    del environ["OTELCOL_BIN"]
    done = verify(tmp_path, "--otlp-endpoint", collector.http_endpoint, **environ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"OTLP to   {collector.http_endpoint}" in done.stdout


@pytest.mark.collector
def test_a_model_that_cannot_be_reached_fails_it(
    environ: dict[str, str], langfuse: LangfuseSink, tmp_path: Path
) -> None:
    done = verify(tmp_path, **{**environ, "VOICESPAN_SIMULATOR_URL": "https://127.0.0.1:1"})
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("verify-live: failed: ")
    assert "Traceback" not in done.stderr
    assert_no_key(done)
    # What happened until then is told all the same.
    assert "WebSocket Session" in {span.name for span in langfuse.spans.wait_count(2)}
