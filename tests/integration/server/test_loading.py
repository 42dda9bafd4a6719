"""The application as a serving process imports it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, gc, sys
from voicespan_server.loading import create_app
import httpx2

ABSENT = {"httpx", "pydantic.v1", "langfuse", "requests", "grpc", "rich"}
PATHS = ["/readyz", "/v1/config", "/v1/sessions", "/v1/traces/none", "/openapi.json"]

print(gc.isenabled(), *sorted(ABSENT & set(sys.modules)))

async def main():
    app = create_app()
    async with app.router.lifespan_context(app):
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1:8000") as client:
            print(*[(await client.get(path)).status_code for path in PATHS])

asyncio.run(main())
print(gc.isenabled(), *sorted(ABSENT & set(sys.modules)))
import httpx, pydantic.v1
"""


@pytest.mark.parametrize(("http_client", "imported"), [("", ""), ("auto", ""), ("httpx", " httpx rich")])
def test_what_no_server_uses_is_not_imported_and_no_garbage_is_looked_for(
    http_client: str, imported: str, tmp_path: Path
) -> None:
    env = {
        "PATH": os.environ["PATH"],
        "GEMINI_API_KEY": "k",
        "GOOGLE_GENAI_HTTP_CLIENT": http_client,
        "VOICESPAN_STORE_PATH": str(tmp_path / "traces.db"),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=env,
        cwd=tmp_path,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == [f"False{imported}", "200 200 200 422 200", f"True{imported}"]
