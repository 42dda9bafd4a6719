"""google-genai's Live classes, watched: methods are replaced on the class and put back.

What passes is the program's own: the same coroutines' results, the same messages, sessions and exceptions. While a
session is not watched, a replaced method costs one look into its instance.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

from google.genai import live, types

from voicespan.genai.connection import Connection, Unsent
from voicespan.genai.program import Program

# On the session, which lives as long as anybody can use it; looked up for every frame, by getattr: an object that is
# asked for its __dict__ has one from then on.
_CONNECTION = "_voicespan_connection"

# Nobody else holds it: it goes with the session.
_LAST_WORD = "_voicespan_last_word"

Method = Callable[..., Awaitable[Any]]
Tell = Callable[[Connection, dict[str, Any]], Unsent | None]


class Patches:
    """All that is replaced for one program; after `undo` what somebody still holds of it only passes through."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.active = True
        self._replaced: list[tuple[type, str, object, object]] = []
        self._replace(live.AsyncLive, "connect", self._connect)
        self._replace(live.AsyncSession, "_receive", functools.partial(_receive, self))
        self._replace(live.AsyncSession, "close", _close)
        self._replace(live.AsyncSession, "send_realtime_input", functools.partial(_realtime_input, self))
        for name, tell in (
            ("send", Connection.message),
            ("send_client_content", Connection.client_content),
            ("send_tool_response", Connection.tool_response),
        ):
            self._replace(live.AsyncSession, name, functools.partial(_sending, self, tell))

    def undo(self) -> None:
        """Put the originals back, but not where somebody else has since replaced ours."""
        self.active = False
        for owner, name, original, ours in self._replaced:
            if vars(owner).get(name) is ours:
                setattr(owner, name, original)
        self._replaced.clear()

    def _replace(self, owner: type, name: str, wrap: Callable[[Any], object]) -> None:
        original = vars(owner).get(name)
        if original is None:
            return  # an older google-genai, or one that has dropped what was deprecated
        ours = wrap(original)
        self._replaced.append((owner, name, original, ours))
        setattr(owner, name, ours)

    def _connect(self, original: Callable[..., Any]) -> object:
        @functools.wraps(original)
        def connect(live_: live.AsyncLive, *args: Any, **kwargs: Any) -> Any:
            opened = original(live_, *args, **kwargs)
            return self._watched(opened, live_, kwargs) if self.active and "model" in kwargs else opened

        return connect

    @asynccontextmanager
    async def _watched(
        self,
        opened: AbstractAsyncContextManager[live.AsyncSession],
        live_: live.AsyncLive,
        kwargs: dict[str, Any],
    ) -> AsyncIterator[live.AsyncSession]:
        """What `connect` returns is made by contextlib, as google-genai's own is."""
        connection = self._program.dial(kwargs["model"], kwargs.get("config"), live_._api_client)
        del kwargs  # what follows lasts as long as the session
        if connection is None:
            async with opened as session:
                yield session
            return
        try:
            session = await opened.__aenter__()
        except BaseException as error:
            connection.not_connected(error)
            raise
        connection.connected(session)
        with suppress(AttributeError):  # somebody's own object in a session's place may take none
            setattr(session, _CONNECTION, connection)
            setattr(session, _LAST_WORD, _LastWord(connection))
        try:
            yield session
        except BaseException as error:
            # Told before the socket says goodbye, which may take seconds.
            connection.left(session, error)
            if _closed_by_python(error):
                raise  # google-genai's own generator will be, too, and two at once may not close it
            if not await opened.__aexit__(type(error), error, error.__traceback__):
                raise
        else:
            connection.left(session, None)
            await opened.__aexit__(None, None, None)


def _closed_by_python(error: BaseException) -> bool:
    """Whether a generator that was thrown away is being closed, or one that a loop left over: nobody left its block."""
    return isinstance(error, GeneratorExit) and error.__traceback__ is not None and error.__traceback__.tb_next is None


class _LastWord:
    """A session that nobody can use any more has ended, whether or not it was left.

    Objects are collected wherever Python happens to be, which may be inside an exporter that holds its lock: so the
    loop tells it, as it closes generators that were thrown away.
    """

    __slots__ = ("_connection", "_loop")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()

    def __del__(self) -> None:
        if sys.is_finalizing():
            return  # then the program's end is told, not this
        if not self._connection.live:
            return
        reason = "the session was never closed"
        try:
            self._loop.call_soon_threadsafe(self._connection.abandoned, reason)
        except RuntimeError:  # it is closed
            self._connection.abandoned(reason)


def connection_of(session: live.AsyncSession) -> Connection | None:
    """What watches a session, while it is open; None for one that is not watched."""
    connection = getattr(session, _CONNECTION, None)
    return connection if isinstance(connection, Connection) and connection.live else None  # a mock has any attribute


# Where somebody has replaced ours, `undo` leaves it inside of theirs, and what is instrumented anew goes around both:
# then only the outer one tells.


def _receive(patches: Patches, original: Callable[..., Awaitable[types.LiveServerMessage]]) -> Method:
    # `receive` and `start_stream` both wait here, so their generators stay google-genai's own.
    @functools.wraps(original)
    async def receive(self: live.AsyncSession) -> types.LiveServerMessage:
        connection = getattr(self, _CONNECTION, None)
        if connection is None or not (connection.live and patches.active):
            return await original(self)
        try:
            message = await original(self)
        except BaseException as error:
            connection.not_received(error)
            raise
        connection.received(message)
        return message

    return receive


def _realtime_input(patches: Patches, original: Method) -> Method:
    other = _sending(patches, Connection.realtime_input, original)

    @functools.wraps(original)
    async def send_realtime_input(self: live.AsyncSession, *args: Any, audio: Any = None, **kwargs: Any) -> Any:
        # Nearly all of what is sent is audio and nothing else, which is counted as it goes.
        if audio is None:
            return await other(self, *args, **kwargs)
        if args or kwargs:
            return await original(self, *args, audio=audio, **kwargs)  # which takes one argument at a time
        connection = getattr(self, _CONNECTION, None)
        if connection is None or not (connection.live and patches.active):
            return await original(self, audio=audio)
        connection.audio(audio)
        try:
            return await original(self, audio=audio)
        except Exception:  # who is cancelled waits no more, but has written it
            connection.audio_not_sent(audio)
            raise

    return send_realtime_input


def _sending(patches: Patches, tell: Tell, original: Method) -> Method:
    @functools.wraps(original)
    async def send(self: live.AsyncSession, *args: Any, **kwargs: Any) -> Any:
        connection = connection_of(self) if patches.active else None
        unsent = tell(connection, kwargs) if connection else None
        if connection is None or unsent is None:
            return await original(self, *args, **kwargs)
        try:
            result = await original(self, *args, **kwargs)
        except BaseException:
            connection.not_sent(unsent)
            raise
        connection.sent(unsent)
        return result

    return send


def _close(original: Method) -> Method:
    @functools.wraps(original)
    async def close(self: live.AsyncSession, *args: Any, **kwargs: Any) -> Any:
        if connection := connection_of(self):
            connection.left(self, None)
        return await original(self, *args, **kwargs)

    return close
