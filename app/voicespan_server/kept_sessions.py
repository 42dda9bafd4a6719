"""Sessions that a client may go on with over another WebSocket: who holds the token of the lost call gets its session.

What is kept is the model's resumption handle and who the user is, in this process, for a short time. A call that still
runs, because nobody noticed yet that its client is gone, is ended first.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from opentelemetry.trace import SpanContext

from voicespan.session_scores import Outcomes
from voicespan_server.model_link import Handle

# More would be somebody's doing, not chance.
MOST_KEPT = 10_000
# A call is ended within its goodbye and the close of both of its sockets.
TAKE_OVER_S = 3.0


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a session is: the key that let the client in, and the user, if one is known."""

    key_id: str
    user_id: str | None

    def admits(self, claimed: Owner) -> bool:
        """Whether somebody may go on with it. A caller of whose user nothing is known goes by the key."""
        return claimed.key_id == self.key_id and claimed.user_id in {None, self.user_id}


@dataclass(frozen=True, slots=True)
class Kept:
    """What the next call of a session needs of the one before."""

    session_id: str
    owner: Owner
    handle: Handle | None
    span: SpanContext
    outcomes: Outcomes


@dataclass(frozen=True, slots=True)
class _Seat:
    """A call that runs, or what is left of it."""

    session_id: str
    owner: Owner
    leave: Callable[[], None]
    left: asyncio.Future[Kept | None]


class KeptSessions:
    """Running calls and those that were lost less than `keep_s` seconds ago, by token. 0 keeps none."""

    def __init__(self, keep_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._keep_s = keep_s
        self._clock = clock
        self._seats: dict[bytes, _Seat] = {}
        self._lost: OrderedDict[bytes, float] = OrderedDict()  # until when they are kept

    def __len__(self) -> int:
        """Running and lost ones."""
        return len(self._seats)

    def open(self, session_id: str, owner: Owner, leave: Callable[[], None]) -> str | None:
        """A call begins; `leave` ends it. Returns its token; None where sessions are not kept."""
        if not self._keep_s:
            return None
        self._forget_old()
        token = secrets.token_urlsafe(24)
        left: asyncio.Future[Kept | None] = asyncio.get_running_loop().create_future()
        self._seats[_key(token)] = _Seat(session_id, owner, leave, left)
        return token

    def close(self, token: str | None, kept: Kept | None) -> None:
        """A call is over; without `kept` nobody can go on with it."""
        if token is None or (seat := self._seats.get(_key(token))) is None:
            return
        if kept is None:
            del self._seats[_key(token)]
        else:
            self._lost[_key(token)] = self._clock() + self._keep_s
        if not seat.left.done():
            seat.left.set_result(kept)

    def put_back(self, token: str, kept: Kept) -> None:
        """Who took it was not let in, and may come again: it is kept as long as if it were lost now."""
        left: asyncio.Future[Kept | None] = asyncio.get_running_loop().create_future()
        self._seats[_key(token)] = _Seat(kept.session_id, kept.owner, lambda: None, left)
        self.close(token, kept)

    async def take(self, session_id: str, token: str, claimed: Owner) -> Kept | None:
        """The session that a token stands for, once; None where it is not known, or no more, or another's."""
        self._forget_old()
        seat = self._seats.get(_key(token))
        if seat is None or seat.session_id != session_id or not seat.owner.admits(claimed):
            return None
        if not seat.left.done():
            seat.leave()
        try:
            async with asyncio.timeout(TAKE_OVER_S):
                kept = await asyncio.shield(seat.left)
        except TimeoutError:
            return None
        # Two clients may have waited: it is the first one's.
        self._lost.pop(_key(token), None)
        return kept if self._seats.pop(_key(token), None) else None

    def _forget_old(self) -> None:
        now_s = self._clock()
        while self._lost:
            key, until_s = next(iter(self._lost.items()))
            if until_s > now_s and len(self._lost) <= MOST_KEPT:
                break
            del self._lost[key], self._seats[key]


def _key(token: str) -> bytes:
    """What is looked up: time tells nothing of a token, nor does memory."""
    return hashlib.sha256(token.encode()).digest()
