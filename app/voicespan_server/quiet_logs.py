"""Keeps what is said, tokens and keys out of the logs: websockets writes frames and headers down at level DEBUG.

And a client's fault is a line there, not uvicorn's traceback: whoever can send a frame could fill the disk with these.
Nor is there one for a client that leaves while the model is dialled.
"""

from __future__ import annotations

import logging

# uvicorn hands its own logger to the websockets library.
LOGGERS = ("websockets", "websockets.client", "websockets.server", "uvicorn.error")


# What uvloop (0.23) says where a dial is cancelled as TLS is set up: it closes the socket, and TLS goes on without.
CLOSED_SOCKET = "Fatal error on SSL protocol", "the handler is closed"
BAD_TEXT = "Invalid UTF-8 sequence received from client."


def keep_frames_out_of_logs() -> None:
    """Raise the level of the loggers that frames are written to, where it is below INFO."""
    logging.getLogger("uvicorn.error").addFilter(_without_traceback)
    logging.getLogger("asyncio").addFilter(_of_no_abandoned_dial)
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if logger.getEffectiveLevel() < logging.INFO:
            logger.setLevel(logging.INFO)


def _without_traceback(record: logging.LogRecord) -> bool:
    if record.msg == BAD_TEXT:
        record.exc_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


def _of_no_abandoned_dial(record: logging.LogRecord) -> bool:
    message, fault = CLOSED_SOCKET
    error = record.exc_info[1] if record.exc_info else None
    return not (
        record.getMessage().startswith(message) and isinstance(error, RuntimeError) and str(error).endswith(fault)
    )
