"""The command line as a newcomer uses it."""

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e


def own_environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "VOICESPAN_RAISE": "1"}


def voicespan(folder: Path, *arguments: str, timeout_s: float = 90, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "voicespan_server.cli", *arguments],
        cwd=folder,
        env={**own_environment(folder), **env},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The demo run once, at real pace, in a home of its own."""
    home = tmp_path_factory.mktemp("home")
    done = voicespan(home, "demo", "--once", "--port", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    return home, done.stdout


def test_the_demo_says_where_it_is_and_what_answers(demo: tuple[Path, str]) -> None:
    _, printed = demo
    for part in ("http://127.0.0.1:", "gemini-3.8-live by simulator", "recognises no speech", "voicespan.db"):
        assert part in printed


def test_the_demo_prints_the_trace_with_times_tokens_and_cost(demo: tuple[Path, str]) -> None:
    _, printed = demo
    tree = printed[printed.index("trace ") :]
    order = [
        "Voice Session",
        "WebSocket Session",
        "Live Connection 1",
        "Turn 1",
        "tool-navigate_to_location",
        "Turn 2",
        "tool-search_nearby",
        "Turn 3",
        "interrupted",
        "Turn 4",
    ]
    positions = [tree.index(part) for part in order]
    assert positions == sorted(positions)
    assert "tokens" in tree
    assert "$" in tree
    assert "(simulated)" in tree
    assert "first audio after" in tree


def test_the_trace_is_in_the_local_store(demo: tuple[Path, str]) -> None:
    home, printed = demo
    trace_id = printed[printed.index("trace ") :].split()[1]
    listed = json.loads(voicespan(home, "traces", "list", "--json").stdout)
    assert [summary["trace_id"] for summary in listed] == [trace_id]
    assert listed[0]["turns"] == 4
    assert trace_id in voicespan(home, "traces", "list").stdout
    shown = json.loads(voicespan(home, "traces", "show", trace_id[:8], "--json").stdout)
    assert {span["name"] for span in shown} >= {"Voice Session", "Turn 4", "tool-search_nearby"}
    assert "tool-search_nearby" in voicespan(home, "traces", "show", listed[0]["session_id"]).stdout


@pytest.mark.parametrize(
    ("arguments", "env", "told"),
    [
        (("traces", "list"), {}, "no traces yet"),
        (("traces", "show", "abc"), {}, "no traces yet"),
        (("serve",), {"VOICESPAN_PORT": "eighty"}, "VOICESPAN_PORT"),
        (("serve",), {"VOICESPAN_BACKEND": "gemini"}, "GEMINI_API_KEY"),
        (("serve",), {"OTEL_EXPORTER_OTLP_ENDPOINT": "nowhere://x"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (("serve", "--port", "0"), {"VOICESPAN_SIMULATOR_SCENARIO": "opera"}, "opera"),
        (("serve", "--port", "0", "--workers", "2"), {"VOICESPAN_SIMULATOR_URL": "https://127.0.0.1:1"}, "set both"),
        (
            ("serve", "--port", "0", "--workers", "2"),
            {"GEMINI_API_KEY": "k", "SSL_CERT_FILE": "/no/such"},
            "SSL_CERT_FILE='/no/such' cannot be read",
        ),
        (("traces", "list", "--limit", "9" * 20), {}, "--limit"),
        (("call", "missing.wav"), {}, "missing.wav"),
        (("call", __file__), {}, "cannot be read as a WAV file"),
        (("call", "-t", "Hi", "--url", "http://127.0.0.1:1"), {}, "http://127.0.0.1:1 is no voice socket's URL"),
        (("call", "-t", "Hi", "--url", "ws://[::1"), {}, "ws://[::1 is no voice socket's URL"),
        (("call", "-t", "Hi", "--url", "ws://127.0.0.1:99999"), {}, "99999 is no voice socket's URL"),
        (("loadtest", "--calls", "5", "--to", "3"), {}, "3 is below --calls, 5"),
        (("loadtest", "--url", "127.0.0.1"), {}, "127.0.0.1 is no voice socket's URL"),
        (("call", "-t", "Hi", "--url", "ws://127.0.0.1:1", "--api-key", "k"), {}, "http://127.0.0.1:1: "),
    ],
)
def test_a_mistake_is_told_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], env: dict[str, str], told: str
) -> None:
    done = voicespan(tmp_path, *arguments, **env)
    assert done.returncode == 2, done.stdout + done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    from importlib.resources import files

    wav = str(files("voicespan_server") / "demo_audio" / "01-navigate.wav")
    done = voicespan(tmp_path, "call", wav, "--url", "ws://127.0.0.1:1/ws/voice")
    assert done.returncode == 2
    assert "ws://127.0.0.1:1/ws/voice" in done.stderr


def test_a_port_that_is_taken_is_named_and_nothing_is_left_running(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for command in ("serve", "demo"):
            done = voicespan(tmp_path, command, "--port", str(taken.getsockname()[1]))
            assert done.returncode == 2
            assert "choose others by --host and --port" in done.stderr
            assert "Traceback" not in done.stderr


def test_a_reader_that_goes_ends_the_demo_in_order(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "voicespan_server.cli", "demo", "--port", "0"],
        cwd=tmp_path,
        env={**own_environment(tmp_path), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout
    assert demo.stderr
    with demo.stderr:
        demo.stdout.readline()
        demo.stdout.close()
        assert demo.stderr.read() == ""
    assert demo.wait() == -signal.SIGTERM
    deadline = time.monotonic() + 15
    while left := list(tmp_path.glob("voicespan-simulator-*")):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_streams_that_are_closed_or_speak_another_encoding_break_no_command(demo: tuple[Path, str]) -> None:
    home, printed = demo
    trace_id = printed[printed.index("trace ") :].split()[1]
    run = f"{sys.executable} -m voicespan_server.command traces show {trace_id}"
    for env, redirection in (({}, "<&- >&-"), ({"PYTHONIOENCODING": "latin-1"}, "")):
        done = subprocess.run(
            ["sh", "-c", f"{run} {redirection}"],
            cwd=home,
            env={**own_environment(home), **env},
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
@pytest.mark.parametrize("arguments", [["traces", "list"], ["traces", "list", "--json"]], ids=" ".join)
def test_what_is_written_to_a_full_disk_ends_in_one_line(demo: tuple[Path, str], arguments: list[str]) -> None:
    folder, _ = demo
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "voicespan_server.command", *arguments],
            cwd=folder,
            env=own_environment(folder),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=90,
            check=False,
        )
    assert (done.returncode, done.stderr) == (2, "voicespan: [Errno 28] No space left on device\n")


def test_a_reader_that_has_seen_enough_ends_a_command_without_a_word(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "voicespan_server.command", "store", "status", "--json"],
        cwd=folder,
        env=own_environment(folder),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=90,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_the_banner_has_the_port_that_was_picked_and_no_password(tmp_path: Path) -> None:
    import re

    environ = {**own_environment(tmp_path), "OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:hunter2@127.0.0.1:9"}
    serving = subprocess.Popen(
        [sys.executable, "-m", "voicespan_server.cli", "serve", "--port", "0"],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert serving.stdout is not None
        banner = serving.stdout.readline()
        found = re.search(r"Voicespan on http://127\.0\.0\.1:(\d+)", banner)
        assert found, banner
        assert int(found[1]) > 0
        assert "http://********@127.0.0.1:9/v1/traces" in banner
    finally:
        serving.terminate()
        serving.wait()


def test_the_effective_settings_have_what_the_command_line_said() -> None:
    from support.server import ServerProcess

    with ServerProcess({"VOICESPAN_PORT": "1"}) as server:
        assert server.get("/v1/config")["settings"]["port"] == server.port


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_all_addresses_of_ipv6_are_those_of_ipv4_too(options: tuple[str, ...]) -> None:
    import urllib.request

    from support.server import ServerProcess

    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("there is no IPv6 here")
    with ServerProcess({"VOICESPAN_HOST": "::", "VOICESPAN_API_KEYS": "a:0123456789abcdef"}, *options) as server:
        for host in ("127.0.0.1", "[::1]"):
            assert urllib.request.urlopen(f"http://{host}:{server.port}/readyz", timeout=10).status == 200


def test_a_server_takes_as_many_descriptors_as_it_may_have() -> None:
    import resource

    from support.server import ServerProcess

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with ServerProcess({}) as server:
            assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_version_is_the_distributions(tmp_path: Path) -> None:
    done = voicespan(tmp_path, "--version")
    assert done.stdout == f"voicespan {importlib.metadata.version('voicespan')}\n"


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys, contextlib\n"
        "from voicespan_server import command\n"
        "sys.argv = ['voicespan', '--help']\n"
        "with contextlib.suppress(SystemExit): command.main()\n"
        "heavy = {'google.genai', 'langfuse', 'fastapi', 'uvicorn', 'opentelemetry', 'pydantic', 'websockets'}\n"
        "heavy |= {'voicespan', 'rich.console', 'asyncio', 'importlib.metadata'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    before = os.times()
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    after = os.times()
    assert done.returncode == 0, done.stderr
    for name in ("serve", "demo", "call", "doctor", "loadtest", "traces", "store"):
        assert f"\n  {name} " in done.stdout
    cpu_s = after.children_user - before.children_user + after.children_system - before.children_system
    print(f"--help took {cpu_s:.2f} s of CPU")


def imported_by(module: str, folder: Path) -> set[str]:
    """All modules that are there once it was imported."""
    program = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_library_alone_imports_no_sdk(tmp_path: Path) -> None:
    unwanted = ("opentelemetry.sdk", "google", "langfuse", "fastapi")
    assert [name for name in imported_by("voicespan", tmp_path) if name.startswith(unwanted)] == []


def test_a_server_imports_no_way_to_a_receiver_that_it_has_not(tmp_path: Path) -> None:
    ways = {"requests", "grpc", "langfuse", "opentelemetry.exporter.otlp.proto.http"}
    assert not ways & imported_by("voicespan_server.app", tmp_path)


def test_a_server_that_is_stopped_or_killed_leaves_no_simulator_and_no_folder_behind(tmp_path: Path) -> None:
    from support.server import ServerProcess

    for number in (signal.SIGTERM, signal.SIGKILL):
        with ServerProcess({"TMPDIR": str(tmp_path)}) as server:
            [ready] = tmp_path.glob("voicespan-simulator-*/ready.json")
            pid = json.loads(ready.read_text())["pid"]
            server.signal(number)
            deadline = time.monotonic() + 15
            while list(tmp_path.glob("voicespan-simulator-*")) or Path(f"/proc/{pid}").exists():
                assert time.monotonic() < deadline, f"after {number.name}: {list(tmp_path.iterdir())}"
                time.sleep(0.05)


def test_a_dot_env_file_counts_for_every_variable(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OTEL_EXPORTER_OTLP_ENDPOINT=nonsense\n")
    done = voicespan(tmp_path, "serve", "--port", "0")
    assert done.returncode == 2
    assert "OTEL_EXPORTER_OTLP_ENDPOINT='nonsense'" in done.stderr


def test_the_demo_says_so_where_nothing_is_recorded(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OTEL_SDK_DISABLED=true\n")
    done = voicespan(tmp_path, "demo", "--once", "--port", "0")
    assert done.returncode == 1
    assert "no span was recorded" in done.stdout


@pytest.mark.parametrize("limit", ["", "128"])
def test_limits_and_propagators_that_opentelemetry_takes_pass(tmp_path: Path, limit: str) -> None:
    done = voicespan(tmp_path, "doctor", OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=limit, OTEL_PROPAGATORS="tracecontext, None")
    assert "Traceback" not in done.stderr
    assert "store" in done.stdout
