"""The application as a serving process imports it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import gc, sys
from voicespan_server.loading import create_app
from google.genai import _api_client
print(gc.isenabled(), *sorted({"httpx", "langfuse", "requests", "grpc", "rich"} & set(sys.modules)))
import httpx
"""


@pytest.mark.parametrize(("client", "imported"), [("", "False"), ("auto", "False"), ("httpx", "False httpx rich")])
def test_what_no_server_uses_is_not_imported_and_no_garbage_is_looked_for(client: str, imported: str) -> None:
    env = {**os.environ, "GOOGLE_GENAI_HTTP_CLIENT": client}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == imported
