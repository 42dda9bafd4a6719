"""docs/rest.md, run as it stands against a server with keys."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.api import AS_ALICE, KEY, KEYS
from support.caller import ask, call
from support.server import ServerProcess

pytestmark = pytest.mark.e2e

PAGE = Path(__file__).parents[2] / "docs/rest.md"
MARK = "-- answered --"


def commands() -> tuple[str, list[str]]:
    """The variables that the page sets, and its curl commands, in order."""
    setting, *blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    joined = "".join(blocks).replace("\\\n", " ")
    return setting, [line for line in joined.splitlines() if line]


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page uses curl")
async def test_the_pages_commands_are_answered(environ: dict[str, str]) -> None:
    setting, lines = commands()
    assert len(lines) >= 14
    assert all(line.startswith("curl -fsS ") for line in lines)
    with ServerProcess({**environ, "VOICESPAN_API_KEYS": KEYS}) as server:
        token = server.post("/v1/session-tokens", {"user_id": "u-4f2a"}, AS_ALICE)["token"]
        async with call(server.voice_url, token=token) as caller:
            await ask(caller)
            await caller.hang_up()
        script = "set -e\n" + setting + "".join(f"{line}\necho; echo '{MARK}'\n" for line in lines)
        found = subprocess.run(  # noqa: ASYNC221 - nothing else runs here
            ["bash", "-c", script],
            env={"PATH": os.environ["PATH"], "URL": server.url, "KEY": KEY, "SESSION": caller.session_id},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    # The chat before it made the user a session that is left when the call's is deleted.
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr
    answers = [json.loads(answer) for answer in found.stdout.split(MARK) if answer.strip()]
    assert len(answers) == len(lines)
    by_line = dict(zip(lines, answers, strict=True))
    sessions = next(answer for line, answer in by_line.items() if "sessions?user_id" in line)
    assert [each["session_id"] for each in sessions["sessions"]] == [caller.session_id]
    deleted = [answer["sessions"] for line, answer in by_line.items() if "DELETE" in line]
    assert deleted == [1, 1]
