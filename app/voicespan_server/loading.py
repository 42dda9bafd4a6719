"""The application, imported as a process that serves wants it: uvicorn is pointed at this module's `create_app`.

Without searches for garbage, and google-genai without httpx: it takes httpx2, and httpx only for programs that hand it
a client of that. Where both are installed, as they are for Langfuse's sake, it imports both, and httpx brings along
what its own command line prints with.
"""

from __future__ import annotations

import os

from voicespan_server import interpreter

interpreter.begin()
if os.environ.get("GOOGLE_GENAI_HTTP_CLIENT", "").strip().lower() != "httpx":  # the SDK's own choice of one
    interpreter.import_without("httpx", "google.genai")

from voicespan_server.app import create_app  # noqa: E402 - as imported above

__all__ = ["create_app"]
