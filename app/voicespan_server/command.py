"""The command `voicespan`, also where the extra it needs is not installed."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point."""
    try:
        from voicespan_server.cli import main as run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        from voicespan.extras import missing  # noqa: PLC0415 - the library is not needed for --help

        print(missing("voicespan", error, "server"), file=sys.stderr)
        sys.exit(2)
    run()
