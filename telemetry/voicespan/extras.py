"""What to install where an extra is missing."""

from __future__ import annotations


def install_command(*extras: str) -> str:
    """The command that brings the extras."""
    return f"pip install 'voicespan[{','.join(extras)}]'"


def missing(what: str, error: ImportError, *extras: str) -> ImportError:
    """The error to raise, from `error`, where something of the extras cannot be imported."""
    return ImportError(f"{what} needs {error.name or error}, which is not installed: {install_command(*extras)}")
