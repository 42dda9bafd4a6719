"""Which commit a benchmark measures."""

from __future__ import annotations

import os
import shutil
import subprocess


def commit() -> str:
    """Of the tree at hand; without its history, or without git, what VOICESPAN_COMMIT says."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    known = subprocess.run(command, capture_output=True, text=True, check=False).stdout if shutil.which("git") else ""
    return known.strip() or os.environ.get("VOICESPAN_COMMIT", "unknown")
