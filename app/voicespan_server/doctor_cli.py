"""`voicespan doctor`: looks at what a server needs, and says what to do.

Exit status: 0 where nothing fails, 1 where something does.
"""

# ruff: noqa: PLC0415 - as in cli.py: heavy imports stay inside the commands

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from voicespan_server.terminal import out

STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(
    host: Annotated[str | None, typer.Option(help="Where the server would listen (VOICESPAN_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Its port (VOICESPAN_PORT).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check what a server needs, and say what to do.

    Settings, keys, the port, the store's disk; the model, the collector and Langfuse by real requests; the clock by
    their answers.
    """
    import logging
    from dataclasses import asdict

    from voicespan_server.doctor import Outcome, examine

    logging.disable(logging.WARNING)  # what others would warn of is among the findings
    overrides = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    checks = examine(os.environ, **overrides)
    if as_json:
        print(json.dumps([asdict(check) for check in checks], ensure_ascii=False))
    else:
        for check in checks:
            out().print(f"[{STYLES[check.outcome]}]{check.outcome:<5}[/] {check.name:<10}", end="", highlight=False)
            out().print(check.found, highlight=False, markup=False, soft_wrap=True)
            if check.advice:
                out().print(f"{'':<16}{check.advice}", highlight=False, markup=False, soft_wrap=True, style="dim")
    raise typer.Exit(1 if any(check.outcome is Outcome.FAIL for check in checks) else 0)
