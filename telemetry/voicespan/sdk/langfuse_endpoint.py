"""Where Langfuse's API is, by its own variables: for what does not go through the collector."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from voicespan.sdk.endpoint import Endpoint

DEFAULT_BASE_URL = "https://cloud.langfuse.com"


def langfuse_endpoint(path: str, environ: Mapping[str, str], *, timeout_s: float = 10.0) -> Endpoint | None:
    """A route of Langfuse's API, where LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are set."""

    def setting(name: str) -> str:
        return environ.get(name, "").strip()

    public, secret = setting("LANGFUSE_PUBLIC_KEY"), setting("LANGFUSE_SECRET_KEY")
    if not public or not secret or setting("OTEL_SDK_DISABLED").lower() == "true":
        return None
    base_url = setting("LANGFUSE_BASE_URL") or setting("LANGFUSE_HOST") or DEFAULT_BASE_URL
    credentials = base64.b64encode(f"{public}:{secret}".encode()).decode()
    # Not compressed: these routes are plain JSON ones.
    return Endpoint(
        f"{base_url.rstrip('/')}{path}",
        headers={"Authorization": f"Basic {credentials}"},
        timeout_s=timeout_s,
        gzip=False,
    )
