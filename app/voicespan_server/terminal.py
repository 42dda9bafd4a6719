"""The two consoles of the command line. rich is imported when something is printed, not for --help."""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

# Where nobody's terminal sets a width, a trace's lines should not be folded at 80 columns.
WIDTH = None if sys.stdout.isatty() else 140


@cache
def out() -> Console:
    """Standard output."""
    from rich.console import Console  # noqa: PLC0415 - see above

    return Console(width=WIDTH)


@cache
def err() -> Console:
    """Standard error."""
    from rich.console import Console  # noqa: PLC0415 - see above

    return Console(stderr=True, width=WIDTH)


def complain(message: object) -> None:
    """One red line that says what is wrong."""
    err().print(f"voicespan: {message}", style="red", highlight=False, markup=False, soft_wrap=True)


def say(line: str) -> None:
    """One plain line, folded by nobody."""
    out().print(line, highlight=False, markup=False, soft_wrap=True)


def counted(number: object, what: str) -> str:
    """`1 turn`, `2 turns`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def write_no_more() -> None:
    """What standard output still holds goes nowhere: it would be tried again at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
