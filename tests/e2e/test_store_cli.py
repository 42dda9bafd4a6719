"""`voicespan store` as it is typed: what it prints for people and for programs, and how it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.stores import end_spans, path, store, waiting
from voicespan.sdk.store import Store

__all__ = ["path", "store"]

pytestmark = pytest.mark.e2e


def voicespan(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "voicespan_server.cli", "store", *arguments],
        env={"PATH": os.environ["PATH"], "VOICESPAN_STORE_PATH": str(path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=path.parent,
    )


def test_the_command_line_for_people_and_for_programs(store: Store, path: Path) -> None:
    end_spans(store, "one")
    healthy = voicespan(path, "status")
    assert (healthy.returncode, healthy.stderr) == (0, "")
    assert "traces         1 records       1 wait to be sent" in healthy.stdout
    assert "open in 1 process" in healthy.stdout
    store.rejected(waiting(store), "HTTP 400 no")
    failing = voicespan(path, "status", "--json")
    assert failing.returncode == 1
    assert json.loads(failing.stdout)["signals"][0]["rejected"] == 1
    assert "HTTP 400 no" in voicespan(path, "rejected").stdout
    assert json.loads(voicespan(path, "replay", "--json").stdout) == {"queued": 1}
    assert "nothing was refused" in voicespan(path, "rejected").stdout
    assert json.loads(voicespan(path, "prune", "--max-days", "1", "--json").stdout)["records"] == 0


@pytest.mark.parametrize("command", ["status", "rejected", "replay", "prune"])
def test_where_there_is_no_store_the_command_line_says_so(tmp_path: Path, command: str) -> None:
    ended = voicespan(tmp_path / "none.db", command)
    assert ended.returncode == 2
    assert "VOICESPAN_STORE_PATH" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_an_unknown_signal_is_named(path: Path) -> None:
    ended = voicespan(path, "replay", "--signal", "smoke")
    assert ended.returncode == 2
    assert "smoke" in ended.stderr
