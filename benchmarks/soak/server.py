"""The server as it is served, with one route more that counts what is alive in its process."""

from __future__ import annotations

import asyncio
import gc
import threading

from fastapi import FastAPI

from voicespan_server import cli
from voicespan_server.app import create_app

PROBE = "/soak"


def create_probed() -> FastAPI:
    """The application and its probe."""
    app = create_app()

    @app.get(PROBE)
    async def probe() -> dict[str, int]:
        objects = gc.get_objects()
        return {
            "tasks": len(asyncio.all_tasks()),
            # asyncio's and uvloop's have the same name. One that is cancelled waits for the collector alone.
            "timers": sum(type(found).__name__ == "TimerHandle" and not found.cancelled() for found in objects),
            "threads": threading.active_count(),
            "objects": len(objects),
        }

    return app


if __name__ == "__main__":
    cli.APPLICATION = "benchmarks.soak.server:create_probed"
    cli.main()
