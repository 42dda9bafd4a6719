"""What is kept out of the log, and that nothing else is."""

from __future__ import annotations

import logging

import pytest

from voicespan_server.quiet_logs import keep_frames_out_of_logs

CLOSED = RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")


@pytest.mark.parametrize(
    ("message", "error", "kept"),
    [
        ("Fatal error on SSL protocol\nprotocol: <uvloop.loop.SSLProtocol>", CLOSED, False),
        ("Fatal error on SSL protocol", ValueError("what else may be"), True),
        ("Fatal error on SSL protocol", None, True),
        ("Fatal error on transport TCPTransport", CLOSED, True),
    ],
)
def test_a_client_that_leaves_as_the_model_is_dialled_leaves_no_traceback(
    caplog: pytest.LogCaptureFixture, message: str, error: Exception | None, kept: bool
) -> None:
    keep_frames_out_of_logs()
    logging.getLogger("asyncio").error(message, exc_info=error)
    assert bool(caplog.records) is kept
