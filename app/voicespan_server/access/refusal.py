"""Why somebody is not served: the same reasons on the voice socket and over REST."""

from __future__ import annotations

import random
from dataclasses import dataclass

from voicespan_server import protocol as p
from voicespan_server.protocol import CloseCode


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason's code for clients, and what it is as a close code and as an HTTP status."""

    code: str
    close_code: CloseCode
    status: int


FORBIDDEN = Reason("forbidden", CloseCode.FORBIDDEN, 403)
SUBPROTOCOL = Reason("subprotocol", CloseCode.FORBIDDEN, 403)
UNAUTHORIZED = Reason("unauthorized", CloseCode.UNAUTHORIZED, 401)
OVERLOADED = Reason("overloaded", CloseCode.OVERLOADED, 503)
TOO_MANY_SESSIONS = Reason("too_many_sessions", CloseCode.LIMITED, 429)
RATE_LIMITED = Reason("rate_limited", CloseCode.LIMITED, 429)
BUDGET = Reason("budget", CloseCode.LIMITED, 429)
REASONS = (FORBIDDEN, SUBPROTOCOL, UNAUTHORIZED, OVERLOADED, TOO_MANY_SESSIONS, RATE_LIMITED, BUDGET)

# In seconds.
SOON, IN_A_WHILE = 1.0, 10.0


class Refused(Exception):  # noqa: N818 - nothing went wrong here
    """Somebody is not served: why, in words for them, and whether trying again may help."""

    def __init__(self, reason: Reason, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s

    def as_message(self) -> p.Message:
        """For a client of the voice socket."""
        retry_after_ms = None if self.retry_after_s is None else round(self.retry_after_s * 1000)
        return p.error(
            self.reason.code, self.message, retryable=retry_after_ms is not None, retry_after_ms=retry_after_ms
        )


def about(seconds: float) -> float:
    """One to two times as long: those who were refused together are not to come back together."""
    return seconds * (1 + random.random())
