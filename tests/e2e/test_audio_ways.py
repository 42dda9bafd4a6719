"""Which way audio takes in servers as they are run."""

from __future__ import annotations

import sys

import pytest

from support.caller import ask, call
from support.server import ServerProcess

pytestmark = pytest.mark.e2e

SLOW = "takes the slow path"


class PlainUvicorn(ServerProcess):
    """The application under uvicorn's own command, without our protocol class."""

    def command(self) -> list[str]:
        return [
            sys.executable,
            "-m",
            "uvicorn",
            "voicespan_server.app:create_app",
            "--factory",
            "--port",
            str(self.port),
        ]


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "workers"])
async def test_serve_takes_the_fast_one(environ: dict[str, str], options: tuple[str, ...]) -> None:
    with ServerProcess(environ, *options) as server:
        async with call(server.voice_url) as caller:
            await ask(caller)
        assert SLOW not in server.log


async def test_under_plain_uvicorn_calls_work_and_one_line_says_what_is_missing(environ: dict[str, str]) -> None:
    with PlainUvicorn(environ) as server:
        for _ in range(2):
            async with call(server.voice_url) as caller:
                await ask(caller)
        assert server.log.count(SLOW) == 1
        assert "client_leg" in server.log
