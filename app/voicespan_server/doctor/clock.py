"""How far this machine's clock is from those that it talks to, by the Date that their answers carry."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime

import httpx2

from voicespan.sdk.endpoint import EndpointError, endpoint_from_environment
from voicespan_server.doctor.check import Check, fail, ok, warn
from voicespan_server.doctor.remote import TIMEOUT_S, gemini_address
from voicespan_server.settings import Settings

# A Date is of whole seconds. Beyond the first, times of one trace look wrong beside another service's; beyond the
# second, receivers refuse what they are sent and tokens are not valid yet, or any more.
WARN_S, FAIL_S = 5.0, 60.0


def addresses(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Whom to ask: those that the server would talk to by HTTP anyway."""
    found = []
    if settings.chosen_backend == "gemini":
        found.append(gemini_address(environ))
    if settings.langfuse_public_key:
        found.append(settings.langfuse_base_url)
    try:
        endpoint = endpoint_from_environment(environ)
    except EndpointError:
        endpoint = None
    if endpoint and endpoint.protocol != "grpc":
        found.append(endpoint.url)
    return found


def compared(asked: Iterable[str]) -> Check:
    """Compare with all of them; most of them will not be wrong together."""
    asked = list(asked)
    skews = {address: skew for address in asked if (skew := skew_s(address)) is not None}
    if not skews:
        reason = "none of them gave a Date" if asked else "nobody to compare with"
        return ok("clock", f"not compared: {reason}")
    ahead_s = statistics.median(skews.values())
    told = f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} {', '.join(skews)}"
    advice = "set the clock: timedatectl set-ntp true, or the container host's"
    if abs(ahead_s) > FAIL_S:
        return fail("clock", told, advice)
    if abs(ahead_s) > WARN_S:
        return warn("clock", told, advice)
    return ok("clock", f"within a few seconds of {', '.join(skews)}")


def skew_s(address: str) -> float | None:
    """Seconds by which this clock is ahead of theirs, to about a second; None where they do not say."""
    began = time.time()
    try:
        answer = httpx2.get(address, timeout=TIMEOUT_S)
        theirs = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except (httpx2.HTTPError, ValueError):
        return None
    # Theirs is cut to the second, so half a second is added; ours is the middle of the exchange.
    return (began + time.time()) / 2 - (theirs + 0.5)
