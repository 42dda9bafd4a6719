"""What one call may send, how long it may last, and what it may cost."""

from __future__ import annotations

from dataclasses import dataclass

from voicespan_server import protocol as p
from voicespan_server.access.allowance import Allowance
from voicespan_server.access.door import Caller
from voicespan_server.access.spend import CallMeter
from voicespan_server.settings import Settings

# Of the messages per second: how many seconds' worth may come at once.
MESSAGES_BURST_S = 5


@dataclass(frozen=True, slots=True)
class CallBounds:
    """A call's limits: `audio` in bytes, `messages` in text frames. Without a `meter` its cost is not bounded."""

    audio: Allowance
    messages: Allowance
    max_session_s: float
    meter: CallMeter | None = None

    @classmethod
    def of(cls, settings: Settings, caller: Caller | None = None, meter: CallMeter | None = None) -> CallBounds:
        """The server's, and what the caller's token lowers of them."""
        bytes_per_s = p.INPUT_RATE_HZ * 2
        at_most_s = caller.max_session_s if caller else None
        return cls(
            audio=Allowance(settings.max_audio_speed * bytes_per_s, settings.audio_burst_s * bytes_per_s),
            messages=Allowance(settings.max_messages_per_s, settings.max_messages_per_s * MESSAGES_BURST_S),
            max_session_s=settings.max_session_s if at_most_s is None else min(at_most_s, settings.max_session_s),
            meter=meter,
        )
