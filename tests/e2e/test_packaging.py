"""The wheel and the sdist, as a stranger installs them into an empty environment.

With VOICESPAN_MATRIX=1 the library's own tests run on every Python that is to be had, with the oldest and the newest
dependencies: some minutes each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
OLDEST = (
    "opentelemetry-api==1.39.0",
    "opentelemetry-sdk==1.39.0",
    "opentelemetry-exporter-otlp==1.39.0",
    "opentelemetry-instrumentation==0.60b0",
    "google-genai==2.0.0",
)
MATRIX = pytest.mark.skipif(os.environ.get("VOICESPAN_MATRIX") != "1", reason="VOICESPAN_MATRIX=1 runs it")


@dataclass(frozen=True)
class Dist:
    wheel: Path
    sdist: Path


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=550)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Dist:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, cwd=REPOSITORY)
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Dist(wheel, sdist)


@dataclass(frozen=True)
class Environment:
    folder: Path

    @classmethod
    def make(cls, folder: Path, python: str | Path = sys.executable) -> Environment:
        run(python, "-m", "venv", folder)
        return cls(folder)

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def install(self, *requirements: str | Path) -> None:
        run(self.python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements)

    def runs(self, program: str) -> str:
        return run(self.python, "-W", "error", "-c", program, cwd=self.folder)

    def fails(self, *command: str | Path, status: int = 1) -> str:
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, check=False, timeout=60)
        assert done.returncode == status
        return done.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def plain(dist: Dist, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel and what it needs, nothing else."""
    environment = Environment.make(tmp_path_factory.mktemp("plain"))
    environment.install(dist.wheel)
    return environment


def test_the_library_needs_the_api_alone(plain: Environment) -> None:
    listed = run(plain.python, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check")
    names = {line.split("==")[0] for line in listed.split()} - {"pip", "setuptools"}
    assert names == {
        "voicespan",
        "opentelemetry-api",
        "opentelemetry-instrumentation",
        "opentelemetry-semantic-conventions",
        "packaging",
        "typing_extensions",
        "wrapt",
    }


def test_without_an_sdk_a_session_does_nothing(plain: Environment) -> None:
    program = """
import voicespan
from voicespan import events as ev
session = voicespan.start_session("gemini-3.8-live")
wire = voicespan.GeminiJson()
session.feed(ev.Dialing()); session.feed(ev.Connected())
session.audio_sent(bytes(640))
for event in wire.received('{"serverContent": {"outputTranscription": {"text": "Hi"}, "turnComplete": true}}'):
    session.feed(event)
session.close(voicespan.Close(1000))
print(session.totals.turns, session.trace_id)
"""
    assert plain.runs(program).split() == ["1", "0" * 32]


def test_every_module_of_the_core_can_be_imported(plain: Environment) -> None:
    program = """
import importlib, pkgutil, voicespan
needs_more = ("voicespan.sdk", "voicespan.langfuse", "voicespan.testing", "voicespan.genai")
for module in pkgutil.walk_packages(voicespan.__path__, "voicespan."):
    if not module.name.startswith(needs_more):
        importlib.import_module(module.name)
        print(module.name)
"""
    assert "voicespan.instrumentor" in plain.runs(program).split()


def test_without_google_genai_the_instrumentor_says_so(plain: Environment) -> None:
    program = """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(message)s")
from voicespan.instrumentor import GeminiLiveInstrumentor
GeminiLiveInstrumentor().instrument()
print(GeminiLiveInstrumentor().is_instrumented_by_opentelemetry)
"""
    said, instrumented = plain.runs(program).strip().splitlines()
    assert "google-genai" in said
    assert instrumented == "False"


def test_a_missing_extra_is_named_with_its_command(plain: Environment) -> None:
    bin_ = plain.python.parent
    said = {
        "sdk": plain.fails(plain.python, "-c", "import voicespan.sdk.pipeline"),
        "langfuse": plain.fails(plain.python, "-c", "import voicespan.langfuse"),
        "server": plain.fails(bin_ / "voicespan", "serve", status=2),
        "simulator": plain.fails(bin_ / "voicespan-simulator"),
    }
    for extra, line in said.items():
        assert line.endswith(f"which is not installed: pip install 'voicespan[{extra}]'")


def test_the_sdist_makes_the_same_wheel(dist: Dist, tmp_path: Path) -> None:
    with tarfile.open(dist.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    [source] = tmp_path.iterdir()
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "again", cwd=source)
    [again] = (tmp_path / "again").iterdir()
    assert contents(again) == contents(dist.wheel)
    assert {"tests", "examples", "LICENSE", "README.md"} <= {path.name for path in source.iterdir()}


def test_the_wheel_is_typed_and_whole(dist: Dist) -> None:
    inside = contents(dist.wheel)
    for package in ("voicespan", "voicespan_server", "voicespan_simulator"):
        assert f"{package}/py.typed" in inside
    assert {name.split("/")[0].split("-")[0] for name in inside} == {
        "voicespan",
        "voicespan_pytest.py",
        "voicespan_server",
        "voicespan_simulator",
    }
    in_tree = {str(path.relative_to(REPOSITORY / "telemetry")) for path in REPOSITORY.glob("telemetry/**/*.py")}
    assert in_tree <= set(inside)
    assert [name for name in inside if name.endswith("entry_points.txt")]


def contents(wheel: Path) -> dict[str, int]:
    """Names and checksums; of the record, which lists them, only that it is there."""
    with zipfile.ZipFile(wheel) as archive:
        return {item.filename: 0 if item.filename.endswith("RECORD") else item.CRC for item in archive.infolist()}


def interpreter(version: str) -> Path | None:
    """A Python of that version: on the path, or pyenv's."""
    found = shutil.which(f"python{version}")
    # pyenv's own command for a version that is not chosen is there, and fails.
    if found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
        return Path(found)
    made = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return made[-1] if made else None


@MATRIX
@pytest.mark.parametrize("pins", ["oldest", "newest"])
@pytest.mark.parametrize("version", PYTHONS)
def test_the_library_works_there(dist: Dist, tmp_path: Path, version: str, pins: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    environment = Environment.make(tmp_path / "venv", python)
    tools = ("pytest>=9", "pytest-asyncio>=1.3", "pytest-timeout", "hypothesis", "langsmith>=0.15")
    environment.install(
        f"voicespan[sdk,simulator,instruments,cost] @ {dist.wheel.as_uri()}",
        *(OLDEST if pins == "oldest" else ()),
        *tools,
    )
    with tarfile.open(dist.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    [source] = tmp_path.glob("voicespan-*")
    tests = sorted((source / "tests/integration/telemetry").glob("test_instrumentor*.py"))
    tests += [source / f"tests/integration/telemetry/test_{module}.py" for module in ("gemini_json", "testing")]
    tests += [
        source / f"tests/unit/telemetry/test_{module}.py" for module in ("session_spans", "session_runs", "metrics")
    ]
    print(run(environment.python, "-m", "pytest", "-q", *tests, cwd=source).strip().splitlines()[-1])
