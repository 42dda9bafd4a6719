"""What google-genai raises when a connection to the model fails, as what is to be done about it.

By the words of the reason first and by the close code last: the service ends sessions with one code for many reasons,
and with many codes for one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from google.auth.exceptions import GoogleAuthError
from google.genai import errors
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from voicespan.events import Close
from voicespan_server.redial import Fault

# What the SDK raises from connect, send and receive when the connection is gone, or was never made.
ConnectionFailed = (errors.APIError, WebSocketException, OSError, TimeoutError, GoogleAuthError)
# No connection came about: no such name, no way there, no trust in who answers, no descriptor left.
UNREACHABLE = "live_unreachable"


class SetupRefused(ConnectionError):  # noqa: N818 - the service's answer
    """Something else came where the setup's answer was due."""


class Stalled(ConnectionError):  # noqa: N818 - likewise
    """The connection was left because an answer did not come."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A connection that ended, or was never made. `retry_after_s` is the service's own word.

    `error_type` is the call's, should it end by this; `connection_error` the connection's, None where its close code
    says it all.
    """

    fault: Fault
    close: Close
    error_type: str
    retry_after_s: float | None = None
    connection_error: str | None = None


def failure_of(error: BaseException) -> Failure:
    """What a `ConnectionFailed` means."""
    close = close_of(error)
    if isinstance(error, Stalled):
        return _named(Fault.STALLED, close, "live_stalled")
    if isinstance(error, TimeoutError):
        return _named(Fault.TIMEOUT, close, "live_timeout")
    if isinstance(error, SetupRefused):
        return _named(Fault.INVALID, close, "live_setup_refused")
    if isinstance(error, GoogleAuthError):
        return _named(Fault.REFUSED, close, "live_auth")
    if isinstance(refusal := _refusal(error), InvalidStatus):
        status = refusal.response.status_code
        body = (refusal.response.body or b"").decode(errors="replace")
        wait = _RETRY_DELAY.search(body) or _SECONDS.match(refusal.response.headers.get("Retry-After", ""))
        wait_s = float(wait[1]) if wait else None
        return Failure(fault_of_status(status), close, f"live_http_{status}", wait_s, str(status))
    if isinstance(error, OSError):
        return _named(Fault.TRANSIENT, close, UNREACHABLE)
    return Failure(fault_of(close.code, close.reason), close, f"live_{close.code}")


def _named(fault: Fault, close: Close, name: str) -> Failure:
    return Failure(fault, close, name, connection_error=name)


# google.rpc.RetryInfo, as it stands in an error's JSON.
_RETRY_DELAY = re.compile(r'"retryDelay":\s*"(\d+(?:\.\d+)?)s"')
_SECONDS = re.compile(r"(\d+)$")

# Evidence for each: gemini-live's public issues, and the recordings that the simulator follows.
_WORDS = (
    (Fault.QUOTA, ("resource_exhausted", "resource has been exhausted", "quota", "rate limit", "too many requests")),
    (
        Fault.REFUSED,
        (
            *("api key", "api_key", "permission", "unauthenticated", "unauthorized", "billing"),
            *("is not found for api version", "is not supported for bidi"),
        ),
    ),
    (
        Fault.INVALID,
        ("invalid argument", "invalid session", "resumption handle", "must be specified", "is deprecated"),
    ),
    (
        Fault.TRANSIENT,
        (
            *("was cancelled", "was aborted", "deadline expired", "internal error", "unavailable", "try again"),
            # Audio that came while a blocking tool ran, or nothing at all: the same setup is taken the next time.
            *("requested entity was not found", "is not implemented, or supported, or enabled"),
        ),
    ),
)


def fault_of(code: int, reason: str) -> Fault:
    """A close frame's meaning."""
    said = reason.lower()
    for fault, words in _WORDS:
        if any(word in said for word in words):
            return fault
    # What cannot be read, or is against a policy, will be so again.
    return Fault.INVALID if code in {1003, 1007, 1008} else Fault.TRANSIENT


def fault_of_status(status: int) -> Fault:
    """What an upgrade that was answered by an HTTP status means."""
    if status == 429:
        return Fault.QUOTA
    return Fault.REFUSED if 400 <= status < 500 and status != 408 else Fault.TRANSIENT


def close_of(error: BaseException) -> Close:
    """What ended a connection, as a close code: the peer's, or the one that our own side sent."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ConnectionClosed):
            # google-genai reports a local failure as 1006; the frame that was sent tells what it was.
            frame = seen.rcvd or seen.sent
            if frame:
                return Close(frame.code, frame.reason, "provider" if seen.rcvd else "server")
            return Close(1006, "connection lost", "provider")
        if isinstance(seen, InvalidStatus):
            return Close(1006, f"HTTP {seen.response.status_code} on connect", "provider")
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, errors.APIError):
        return Close(error.code or 1006, str(error.details or error.message or ""), "provider")
    if isinstance(error, Stalled):
        return Close(1000, str(error), "server")
    return Close(1006, f"{type(error).__name__}: {error}", "provider")


def _refusal(error: BaseException | None) -> BaseException | None:
    while error is not None and not isinstance(error, InvalidStatus):
        error = error.__cause__ or error.__context__
    return error
