"""What google-genai and websockets raise when a Live connection ends, as close codes and names for `error.type`."""

from __future__ import annotations

from google.genai import errors, live
from websockets.exceptions import ConnectionClosed, InvalidStatus

from voicespan.events import Close

ABNORMAL = 1006
NORMAL = 1000
GOING_AWAY = 1001


def close_of(error: BaseException) -> Close:
    """What ended a connection: the code of whoever closed first, 1006 where it was lost or never made.

    google-genai tells of a failure on our own side as 1006; the exception behind it has the frame that was sent.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ConnectionClosed):
            if seen.rcvd and seen.rcvd_then_sent is not False:
                return Close(seen.rcvd.code, seen.rcvd.reason, "provider")
            if seen.sent:
                return Close(seen.sent.code, seen.sent.reason, "server")
            return Close(ABNORMAL, "connection lost", "provider")
        if isinstance(seen, InvalidStatus):
            return Close(ABNORMAL, f"HTTP {seen.response.status_code} on connect", "provider")
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, errors.APIError):
        return Close(error.code or ABNORMAL, str(error.details or ""), "provider")
    return Close(ABNORMAL, type(error).__name__, "provider")


def ended_connection(error: BaseException) -> bool:
    """Whether an error from a receive or a send is the connection's end, and not a message that cannot be read."""
    return isinstance(error, (ConnectionClosed, OSError)) or (
        isinstance(error, errors.APIError) and isinstance(error.__context__, ConnectionClosed)
    )


def came_through(session: object, error: BaseException) -> bool:
    """Whether an error came out of a session, and not of another one, or of a socket or a file of the program's."""
    step = error.__traceback__
    while step is not None:
        frame = step.tb_frame
        if frame.f_globals.get("__name__") == live.__name__ and frame.f_locals.get("self") is session:
            return True
        step = step.tb_next
    return False


def error_type(error: BaseException) -> str:
    """A low-cardinality name: the HTTP status of a refused upgrade, the close code of a refused setup, the class."""
    if isinstance(error, InvalidStatus):
        return str(error.response.status_code)
    if isinstance(error, (ConnectionClosed, errors.APIError)):
        return f"close_{close_of(error).code}"
    return type(error).__name__
