"""What the fixtures cost a pytest run that asks for none of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

# Told when the run is over: whether the plugin was loaded, and what was imported by then.
CONFTEST = """
import json, sys

def pytest_unconfigure(config):
    loaded = config.pluginmanager.hasplugin("voicespan")
    print(json.dumps({"plugin": loaded, "modules": sorted(sys.modules)}))
"""


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """With our plugin, by its entry point, and no other: some of those import OpenTelemetry themselves."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "voicespan", "-q", *arguments],
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_run_that_asks_for_no_fixture_imports_nothing_of_voicespan(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_theirs.py").write_text("def test_theirs(): pass\n")
    done = run_pytest(tmp_path, "--co")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_theirs.py::test_theirs" in done.stdout
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert told["plugin"]
    heavy = ("voicespan", "opentelemetry", "google")
    assert [name for name in told["modules"] if name.split(".")[0] in heavy] == []
    assert "voicespan_pytest" in told["modules"]


def test_a_difference_is_shown_at_the_tests_own_line(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text("def test_theirs(voice_spans):\n    voice_spans.assert_tree('Turn 1')\n")
    done = run_pytest(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "\ntest_theirs.py:2: AssertionError\n" in done.stdout
    assert re.search(r"^E +- Turn 1$", done.stdout, re.MULTILINE)
    assert "recorded.py" not in done.stdout
