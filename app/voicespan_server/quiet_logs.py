"""Keeps what is said, tokens and keys out of the logs: websockets writes frames and headers down at level DEBUG."""

from __future__ import annotations

import logging

# uvicorn hands its own logger to the websockets library.
LOGGERS = ("websockets", "websockets.client", "websockets.server", "uvicorn.error")


def keep_frames_out_of_logs() -> None:
    """Raise the level of the loggers that frames are written to, where it is below INFO."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if logger.getEffectiveLevel() < logging.INFO:
            logger.setLevel(logging.INFO)
