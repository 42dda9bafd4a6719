"""The application, imported as a process that serves wants it: uvicorn is pointed at this module's `create_app`.

Without searches for garbage, and without what its libraries import for other programs:

- httpx, for Langfuse's sake installed: google-genai takes httpx2, and httpx only where a program hands it a client of
  that. With httpx come the libraries that its command line prints with.
- pydantic.v1: FastAPI refuses models of it, and looks whether ours are.

Who wants them later can import them.
"""

from __future__ import annotations

import os

from voicespan_server import interpreter

interpreter.begin()
if os.environ.get("GOOGLE_GENAI_HTTP_CLIENT", "").strip().lower() != "httpx":  # the SDK's own choice of one
    interpreter.import_without("httpx", "google.genai")

interpreter.import_without("pydantic.v1", "voicespan_server.app")

from voicespan_server.app import create_app  # noqa: E402 - as imported above

__all__ = ["create_app"]
