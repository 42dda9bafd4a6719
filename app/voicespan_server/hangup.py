"""How a call ends: the exception that every part of a call raises to end it."""

from __future__ import annotations

from voicespan.events import Close
from voicespan_server.protocol import CloseCode, Message


class HungUp(Exception):  # noqa: N818 - mostly nothing went wrong
    """The call is over: how its socket was closed, or is to be closed, and what the client is told first."""

    def __init__(self, close: Close, error_type: str | None = None, message: Message | None = None) -> None:
        super().__init__(close.reason)
        self.close = close
        self.error_type = error_type
        self.message = message

    @property
    def may_go_on(self) -> bool:
        """Whether the session may go on over another connection: the client was lost, or it says so itself."""
        lost = {1005, 1006, CloseCode.MOVED, CloseCode.OVERLOADED, CloseCode.TIMEOUT}
        return self.close.initiator != "provider" and self.close.code in lost
