"""`voicespan doctor` on a good set-up and on broken ones: what it finds, what it advises, how it exits."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

import pytest

from support.http_server import HttpServer, Request, Response
from support.otlp_sink import OtlpHttpSink
from voicespan_server.doctor import Outcome, remote
from voicespan_server.settings import Settings

pytestmark = pytest.mark.e2e

KEY = "AIza-a-key-that-is-good"
LANGFUSE = ("pk-lf-good", "sk-lf-good")


@dataclass
class Services:
    """Gemini's models and Langfuse's projects, each as documented, on one port."""

    key: str = KEY
    asked: list[str] = field(default_factory=list)

    def respond(self, request: Request) -> Response:
        self.asked.append(request.path)
        if request.path.startswith("/v1beta/models/"):
            if request.headers.get("x-goog-api-key") != self.key:
                return Response(400, b'{"error": {"status": "INVALID_ARGUMENT"}}')
            return Response(200, b'{"supportedGenerationMethods": ["bidiGenerateContent"]}')
        if request.path == "/api/public/projects":
            # base64 of both keys
            if request.headers.get("authorization") != "Basic cGstbGYtZ29vZDpzay1sZi1nb29k":
                return Response(401, b'{"message": "Invalid credentials"}')
            return Response(200, b'{"data": [{"id": "p", "name": "voices"}]}')
        return Response(404)


@pytest.fixture
def services() -> Services:
    return Services()


@pytest.fixture
def address(services: Services) -> Iterator[str]:
    with HttpServer(services.respond) as server:
        yield server.url


@pytest.fixture
def good(tmp_path: Path, address: str, receiver: OtlpHttpSink) -> dict[str, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {
        "GEMINI_API_KEY": KEY,
        "GOOGLE_GEMINI_BASE_URL": address,
        "LANGFUSE_PUBLIC_KEY": LANGFUSE[0],
        "LANGFUSE_SECRET_KEY": LANGFUSE[1],
        "LANGFUSE_BASE_URL": address,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.base_url,
        "VOICESPAN_STORE_PATH": str(tmp_path / "traces.db"),
        "VOICESPAN_PORT": str(port),
    }


def doctor(folder: Path, env: dict[str, str], *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "voicespan_server.cli", "doctor", *more],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def findings(folder: Path, env: dict[str, str]) -> tuple[int, dict[str, dict[str, str]]]:
    done = doctor(folder, env, "--json")
    assert done.stdout, done.stderr
    return done.returncode, {check["name"]: check for check in json.loads(done.stdout)}


def failed(found: dict[str, dict[str, str]]) -> list[str]:
    return [name for name, check in found.items() if check["outcome"] == "fail"]


def test_a_good_set_up_is_all_ok_and_was_really_asked(
    tmp_path: Path, good: dict[str, str], services: Services, receiver: OtlpHttpSink
) -> None:
    status, found = findings(tmp_path, good)
    assert status == 0
    assert {check["outcome"] for check in found.values()} == {"ok"}, found
    assert list(found) == ["settings", "access", "model", "port", "store", "collector", "langfuse", "clock", "content"]
    assert "voices" in found["langfuse"]["found"]
    assert "/v1beta/models/gemini-3.8-live" in services.asked
    assert [span.name for span in receiver.spans.all()] == ["voicespan doctor"]


def test_a_laptop_without_anything_is_well_too(tmp_path: Path, good: dict[str, str]) -> None:
    bare = {name: good[name] for name in ("VOICESPAN_STORE_PATH", "VOICESPAN_PORT")}
    done = doctor(tmp_path, bare)
    assert done.returncode == 0, done.stdout
    assert "a simulator answers" in done.stdout
    assert "fail" not in done.stdout


def test_a_simulator_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    check = remote.model(Settings(backend="simulator"), {})
    assert check.outcome is Outcome.FAIL
    assert check.advice == "pip install 'voicespan[simulator]'"


def test_settings_that_cannot_be_used(tmp_path: Path, good: dict[str, str]) -> None:
    status, found = findings(tmp_path, {**good, "VOICESPAN_MAX_SESSION_S": "soon"})
    assert (status, failed(found)) == (1, ["settings"])
    assert "VOICESPAN_MAX_SESSION_S" in found["settings"]["found"]
    assert len(found) == 1


def test_a_server_that_would_be_open_to_strangers(tmp_path: Path, good: dict[str, str]) -> None:
    status, found = findings(tmp_path, {**good, "VOICESPAN_HOST": "0.0.0.0"})
    assert (status, failed(found)) == (1, ["access"])
    assert "VOICESPAN_API_KEYS" in found["access"]["found"]


def test_a_wrong_key(tmp_path: Path, good: dict[str, str]) -> None:
    status, found = findings(tmp_path, {**good, "GEMINI_API_KEY": "AIza-of-last-year"})
    assert (status, failed(found)) == (1, ["model"])
    assert "does not take GEMINI_API_KEY" in found["model"]["found"]
    assert "AIza" not in json.dumps(found)


def test_a_collector_that_is_not_there(tmp_path: Path, good: dict[str, str]) -> None:
    status, found = findings(tmp_path, {**good, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
    assert (status, failed(found)) == (1, ["collector"])
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in found["collector"]["advice"]


@pytest.mark.parametrize(
    ("variable", "failing"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", []),
        ("GOOGLE_GEMINI_BASE_URL", []),
        ("LANGFUSE_BASE_URL", ["langfuse"]),  # the name and password go in place of the keys
    ],
)
def test_a_password_in_an_address_is_not_printed(
    tmp_path: Path, good: dict[str, str], variable: str, failing: list[str]
) -> None:
    _, found = findings(tmp_path, {**good, variable: good[variable].replace("http://", "http://me:canary@")})
    assert failed(found) == failing
    assert "http://********@127.0.0.1:" in json.dumps(found)
    assert "canary" not in json.dumps(found)


def test_a_collector_that_refuses(tmp_path: Path, good: dict[str, str], receiver: OtlpHttpSink) -> None:
    receiver.fail_next(401, times=2)
    status, found = findings(tmp_path, good)
    assert (status, failed(found)) == (1, ["collector"])
    assert "HTTP 401" in found["collector"]["found"]


def test_wrong_keys_for_langfuse(tmp_path: Path, good: dict[str, str]) -> None:
    status, found = findings(tmp_path, {**good, "LANGFUSE_SECRET_KEY": "sk-lf-other"})
    assert (status, failed(found)) == (1, ["langfuse"])
    assert "does not take the keys" in found["langfuse"]["found"]
    assert "sk-lf" not in json.dumps(found)


def test_a_port_that_somebody_else_has(tmp_path: Path, good: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, found = findings(tmp_path, {**good, "VOICESPAN_PORT": str(taken.getsockname()[1])})
    assert (status, failed(found)) == (1, ["port"])
    assert "VOICESPAN_PORT" in found["port"]["advice"]


def test_a_store_that_cannot_be_written(tmp_path: Path, good: dict[str, str]) -> None:
    (tmp_path / "file").touch()
    status, found = findings(tmp_path, {**good, "VOICESPAN_STORE_PATH": str(tmp_path / "file" / "traces.db")})
    assert (status, failed(found)) == (1, ["store"])
    assert "VOICESPAN_STORE_PATH" in found["store"]["advice"]


def test_a_store_that_is_none(tmp_path: Path, good: dict[str, str]) -> None:
    with sqlite3.connect(good["VOICESPAN_STORE_PATH"]) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    other.close()
    status, found = findings(tmp_path, good)
    assert (status, failed(found)) == (1, ["store"])


def test_a_clock_that_is_wrong(tmp_path: Path, good: dict[str, str]) -> None:
    # http.server's own Date would stand before another one, so a bare socket answers.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yesterday = formatdate(usegmt=True, timeval=1_000_000_000)
        from threading import Thread

        def answer() -> None:
            while True:
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return
                with peer:
                    peer.recv(65536)
                    peer.sendall(f"HTTP/1.1 404 no\r\nDate: {yesterday}\r\nContent-Length: 0\r\n\r\n".encode())

        thread = Thread(target=answer)
        thread.start()
        env = {
            name: value for name, value in good.items() if not name.startswith("LANGFUSE") and "ENDPOINT" not in name
        }
        env["GOOGLE_GEMINI_BASE_URL"] = f"http://127.0.0.1:{listening.getsockname()[1]}"
        status, found = findings(tmp_path, env)
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert status == 1
    assert failed(found) == ["model", "clock"]
    assert "ahead of" in found["clock"]["found"]


def test_what_is_odd_but_serves_is_a_warning_and_no_failure(tmp_path: Path, good: dict[str, str]) -> None:
    odd = {**good, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true", "VOICESPAN_STORE_MAX_MB": "900000000"}
    odd |= {"VOICESPAN_PROT": "8001", "VOICESPAN_RAISE": "1", "VOICESPAN_API_KEY": "k", "VOICESPAN_OF_OTHERS": "1"}
    odd.pop("OTEL_EXPORTER_OTLP_ENDPOINT")
    status, found = findings(tmp_path, odd)
    assert status == 0
    warned = [name for name, check in found.items() if check["outcome"] == "warn"]
    assert warned == ["settings", "store", "collector", "content"]
    assert found["settings"]["found"].endswith("VOICESPAN_PROT is no setting")
    assert found["settings"]["advice"].startswith("VOICESPAN_PORT is one")
    assert all(found[name]["advice"] for name in warned)
