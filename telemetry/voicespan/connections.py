"""The connections to the provider, one after another: what was dialled, what served, the gaps. See `lifecycle`."""

from __future__ import annotations

from voicespan import events as ev
from voicespan import operations as op


class Connections:
    """The state of the connection to the provider."""

    __slots__ = (
        "_dial",
        "_former_close",
        "_served_until_ns",
        "connected_ns",
        "going_away",
        "index",
        "resumed",
        "silent_since_ns",
    )

    def __init__(self) -> None:
        self.index = 0
        self.going_away: ev.GoAway | None = None
        # Since when the connection has served without a word of the provider's; None where there was one.
        self.silent_since_ns: int | None = None
        self.resumed = False
        self.connected_ns = 0
        self._dial: tuple[ev.Dialing, int] | None = None
        self._served_until_ns: int | None = None
        self._former_close: ev.Close | None = None

    @property
    def down(self) -> bool:
        """Whether the last connection has ended, so that nothing can come."""
        return self._dial is not None or self._served_until_ns is not None

    def on_dialing(self, event: ev.Dialing, now: int) -> list[op.Operation]:
        """A connection is being made."""
        ops: list[op.Operation] = []
        if self._dial:
            ops += self.end_dial(now)
        self.index += 1
        self._dial = (event, now)
        return [*ops, op.StartConnection(self.index, self._served_until_ns or now)]

    def on_connected(self, now: int) -> list[op.Operation]:
        """The connection serves."""
        if self._dial is None:
            return []
        self.resumed = self._dial[0].resumed
        ops = self.end_dial(now, close=self._former_close, connected=True)
        self._served_until_ns = self._former_close = self.going_away = None
        self.silent_since_ns = self.connected_ns = now
        return ops

    def on_disconnected(self, event: ev.Disconnected, now: int) -> list[op.Operation]:
        """The attempt failed, or the connection that served ended: then, and only then, a ConnectionEnded is told."""
        if self._dial:
            return self.end_dial(now, event.close, event.error_type or f"close_{event.close.code}")
        if self._served_until_ns is not None or not self.index:
            return []
        self._served_until_ns = now
        self._former_close = event.close
        self.silent_since_ns = None
        return [op.ConnectionEnded(self.index, now, event.close, event.error_type)]

    def end_dial(
        self, now: int, close: ev.Close | None = None, error_type: str | None = None, *, connected: bool = False
    ) -> list[op.Operation]:
        """The attempt, if there is one, is over. One that the caller hung up on is neither made nor failed."""
        if self._dial is None:
            return []
        (dial, dialed_ns), self._dial = self._dial, None
        served_until = self._served_until_ns
        return [
            op.EndConnection(
                index=self.index,
                at_ns=now,
                connected=connected,
                setup_s=(now - dialed_ns) / 1e9,
                gap_s=None if served_until is None else (now - served_until) / 1e9,
                resumed=dial.resumed,
                handle_age_s=dial.handle_age_s,
                close=close,
                error_type=error_type,
                go_away_time_left_s=self.going_away.time_left_s if self.going_away else None,
            )
        ]
