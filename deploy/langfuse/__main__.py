"""`scripts/setup-langfuse`: gives a Langfuse project the configurations of our scores, and a dashboard.

Needs LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and, for another than Langfuse Cloud's EU region, LANGFUSE_BASE_URL. What
is as it should be is left alone, so it can run again at any time. Dashboards go by an API that Langfuse calls unstable.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import httpx
from deploy.langfuse.apply import apply

from langfuse.api import LangfuseAPI
from langfuse.api.core import ApiError

CLOUD = "https://cloud.langfuse.com"


def main(environ: Mapping[str, str]) -> int:
    """A line for each thing; exit status 1 where Langfuse refuses, 2 where a key is missing."""
    keys = ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY")
    if missing := [key for key in keys if not environ.get(key)]:
        print(f"setup-langfuse: set {' and '.join(missing)}", file=sys.stderr)
        return 2
    public_key, secret_key = (environ[key] for key in keys)
    base_url = environ.get("LANGFUSE_BASE_URL") or CLOUD
    api = LangfuseAPI(
        base_url=base_url, username=public_key, password=secret_key, x_langfuse_public_key=public_key, timeout=30
    )
    try:
        applied = apply(api)
    except ApiError as error:
        print(f"setup-langfuse: {base_url} answered {error.status_code}: {error.body}", file=sys.stderr)
        return 1
    except httpx.HTTPError as error:
        print(f"setup-langfuse: {base_url} cannot be reached: {error}", file=sys.stderr)
        return 1
    print("\n".join([*applied.lines, f"setup-langfuse: {len(applied.lines)} things, {applied.changes} changed"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
