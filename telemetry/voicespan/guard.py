"""Telemetry never breaks the call: its errors stop here, are counted, and are logged once in a while.

With VOICESPAN_RAISE=1, as in the tests, they are raised instead.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

_LOG_EVERY_S = 60.0


class _Errors:
    count = 0
    logged_at = float("-inf")


def error_count() -> int:
    """How many errors of telemetry's own were swallowed since the process began."""
    return _Errors.count


def report(error: Exception) -> None:
    """Count an error of telemetry's own, log it at most once a minute, raise it where VOICESPAN_RAISE=1."""
    if os.environ.get("VOICESPAN_RAISE") == "1":
        raise error
    _Errors.count += 1
    now = time.monotonic()
    if now - _Errors.logged_at >= _LOG_EVERY_S:
        _Errors.logged_at = now
        logger.error("telemetry failed; the call goes on (%d failures so far)", _Errors.count, exc_info=error)


def report_in_thread(error: Exception) -> None:
    """As `report`, for a thread of telemetry's own: raising there would reach nobody, so it is logged in full."""
    try:
        report(error)
    except Exception:
        logger.exception("telemetry failed in thread %s", threading.current_thread().name)


def guarded(default: R) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function of telemetry's edge safe to call from the path of a voice call; `default` where it failed."""

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def safe(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - the edge: whatever it is, the call goes on
                report(error)
                return default

        return safe

    return wrap
