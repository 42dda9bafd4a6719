"""Programs that the scripts build once and keep outside the tree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.collector import REPOSITORY

REQUIRED = os.environ.get("VOICESPAN_REQUIRE_ALL") == "1"
BUILT = () if REQUIRED else ("--built",)


def binary(script: str, *arguments: str) -> Path:
    """The program that a script gives; skips where it cannot be had, fails where all tests are required."""
    found = subprocess.run(
        [REPOSITORY / "scripts" / script, *arguments],
        env={"PYTHON": sys.executable, **os.environ},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    if found.returncode == 0:
        return Path(found.stdout.strip())
    reason = found.stderr.strip().splitlines()[-1] if found.stderr.strip() else f"exit {found.returncode}"
    if REQUIRED:
        pytest.fail(f"{reason}\n{found.stderr}")
    pytest.skip(reason)
