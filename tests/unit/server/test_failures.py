"""What ended a connection to the model, by its words first."""

from __future__ import annotations

import pytest
from google.auth.exceptions import DefaultCredentialsError
from google.genai import errors
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.frames import Close as Frame
from websockets.http11 import Response

from voicespan.events import Close
from voicespan_server.failures import Failure, SetupRefused, Stalled, failure_of, fault_of
from voicespan_server.redial import Fault

# Code and reason as they were seen, with what helps.
SEEN = [
    (1000, "The operation was cancelled.", Fault.TRANSIENT),
    (1011, "Internal error encountered.", Fault.TRANSIENT),
    (1011, "The service is currently unavailable.", Fault.TRANSIENT),
    (1011, "Deadline expired before operation could complete.", Fault.TRANSIENT),
    (1011, "Resource has been exhausted (e.g. check quota).", Fault.QUOTA),
    (1011, "You exceeded your current quota, please check your plan and billing details.", Fault.QUOTA),
    (1008, "Requested entity was not found.", Fault.TRANSIENT),
    (1008, "The operation was aborted.", Fault.TRANSIENT),
    (1008, "Operation is not implemented, or supported, or enabled.", Fault.TRANSIENT),
    (1008, "models/x is not found for API version v1beta, or is not supported for bidiGenerateContent.", Fault.REFUSED),
    (1007, "API key not valid. Please pass a valid API key.", Fault.REFUSED),
    (1007, "Request contains an invalid argument.", Fault.INVALID),
    (1007, "Thinking level must be specified for this model.", Fault.INVALID),
    (1007, "realtime_input.media_chunks is deprecated. Use audio, video, or text instead.", Fault.INVALID),
    (1007, "Invalid session resumption handle.", Fault.INVALID),
    (1007, "", Fault.INVALID),
    (1008, "", Fault.INVALID),
    (1011, "", Fault.TRANSIENT),
    (1006, "", Fault.TRANSIENT),
    (1012, "", Fault.TRANSIENT),
]


@pytest.mark.parametrize(("code", "reason", "fault"), SEEN)
def test_words_go_before_codes(code: int, reason: str, fault: Fault) -> None:
    assert fault_of(code, reason) is fault


def test_a_close_is_read_from_below_the_sdks_own_error() -> None:
    error = errors.APIError(1006, "abnormal closure [internal]", None)  # type: ignore[arg-type]
    error.__context__ = ConnectionClosedError(None, Frame(1009, "message too big"), None)
    assert failure_of(error) == Failure(Fault.TRANSIENT, Close(1009, "message too big", "server"), "live_1009")


def test_a_lost_connection_has_no_frame_to_read() -> None:
    error = errors.APIError(1006, "abnormal closure [internal]", None)  # type: ignore[arg-type]
    error.__context__ = ConnectionClosedError(None, None, None)
    assert failure_of(error).close == Close(1006, "connection lost", "provider")


def refusal(status: int, body: bytes = b"", **headers: str) -> InvalidStatus:
    named = Headers({name.replace("_", "-"): value for name, value in headers.items()})
    return InvalidStatus(Response(status, "no", named, body))


@pytest.mark.parametrize(
    ("error", "fault", "retry_after_s"),
    [
        (refusal(429, Retry_After="7"), Fault.QUOTA, 7.0),
        (refusal(429, b'{"details": [{"retryDelay": "37.5s"}]}'), Fault.QUOTA, 37.5),
        (refusal(429, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT"), Fault.QUOTA, None),
        (refusal(429), Fault.QUOTA, None),
        (refusal(401), Fault.REFUSED, None),
        (refusal(404), Fault.REFUSED, None),
        (refusal(408), Fault.TRANSIENT, None),
        (refusal(503, Retry_After="2"), Fault.TRANSIENT, 2.0),
    ],
)
def test_an_upgrade_that_is_refused(error: InvalidStatus, fault: Fault, retry_after_s: float | None) -> None:
    status = error.response.status_code
    close = Close(1006, f"HTTP {status} on connect", "provider")
    assert failure_of(error) == Failure(fault, close, f"live_http_{status}", retry_after_s, str(status))


@pytest.mark.parametrize(
    ("error", "fault", "error_type"),
    [
        (TimeoutError(), Fault.TIMEOUT, "live_timeout"),
        (SetupRefused("no"), Fault.INVALID, "live_setup_refused"),
        (Stalled("an answer did not come"), Fault.STALLED, "live_stalled"),
        (DefaultCredentialsError("none"), Fault.REFUSED, "live_auth"),
        (ConnectionRefusedError(111, "refused"), Fault.TRANSIENT, "live_unreachable"),
        (OSError(24, "Too many open files"), Fault.TRANSIENT, "live_unreachable"),
    ],
)
def test_what_is_no_close_at_all(error: Exception, fault: Fault, error_type: str) -> None:
    found = failure_of(error)
    assert (found.fault, found.error_type) == (fault, error_type)
    assert found.connection_error == error_type


def test_a_stall_is_our_own_close() -> None:
    assert failure_of(Stalled("an answer did not come")).close == Close(1000, "an answer did not come", "server")
