"""The command `voicespan`, also where the extra it needs is not installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    """Entry point."""
    prepare_streams()
    try:
        from voicespan_server.cli import main as run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        from voicespan.extras import missing  # noqa: PLC0415 - the library is not needed for --help

        print(missing("voicespan", error, "server"), file=sys.stderr)
        sys.exit(2)
    run()


def prepare_streams() -> None:
    """What is closed takes what is written all the same, and an encoding that lacks a character shows `?` for it."""
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - as long as the process
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - as long as the process
        elif callable(reconfigure := getattr(stream, "reconfigure", None)):
            reconfigure(errors="replace")


if __name__ == "__main__":
    main()
