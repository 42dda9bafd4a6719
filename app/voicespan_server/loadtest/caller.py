"""One caller: calls, asks, listens to the answer to its end, asks again, hangs up and calls again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle, islice

from websockets.exceptions import WebSocketException

from voicespan_server.client import CallError, VoiceClient, call
from voicespan_server.loadtest.figures import Tally
from voicespan_server.loadtest.playback import Playback
from voicespan_server.protocol import OUTPUT_RATE_HZ
from voicespan_server.server_messages import Interrupted, ServerMessage, TurnCompleted

REDIAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Habits:
    """How a caller calls: where to, what it says, how often, how long it waits for an answer."""

    url: str
    lines: Sequence[bytes]
    turns: int
    answer_s: float
    token: Callable[[], Awaitable[str | None]]


class Board:
    """Where callers note things down: in the tally of the level that is being measured, or nowhere."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.calls = 0


async def call_until(stop: asyncio.Event, habits: Habits, board: Board) -> None:
    """One call after another. A call that goes wrong is noted, and followed by another after a moment."""
    while not stop.is_set():
        try:
            await _one_call(stop, habits, board)
            continue
        except CallError as error:
            board.tally.errors[error.code or "call"] += 1
            pause_s = (error.retry_after_ms or REDIAL_S * 1000) / 1000
        except TimeoutError:
            board.tally.errors["no-answer"] += 1
            pause_s = REDIAL_S
        except (OSError, WebSocketException) as error:
            board.tally.errors[type(error).__name__] += 1
            pause_s = REDIAL_S
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await stop.wait()


async def _one_call(stop: asyncio.Event, habits: Habits, board: Board) -> None:
    token = await habits.token()
    dialled = time.monotonic()
    async with call(habits.url, token=token) as running:
        board.tally.connect_s.append(time.monotonic() - dialled)
        board.calls += 1
        try:
            listener = _Listener(running, board)
            for line in islice(cycle(habits.lines), habits.turns):
                if stop.is_set():
                    break
                await listener.ask(line, habits.answer_s)
                # People hear an answer out, unless the test is over.
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, listener.playback.plays_until - time.monotonic())):
                        await stop.wait()
            await running.hang_up()
        finally:
            board.calls -= 1


@dataclass(slots=True)
class _Listener:
    running: VoiceClient
    board: Board
    playback: Playback = field(default_factory=Playback)
    _asked: float | None = None
    _answers: int = 0

    def __post_init__(self) -> None:
        self.running.audio_listener = self._on_audio
        self.running.listener = self._on_message

    async def ask(self, line: bytes, answer_s: float) -> None:
        """Speak, and wait for the turn that answers to be over."""
        answers = self._answers
        await self.running.say(line)
        self._asked = time.monotonic()
        await self.running.wait_for(lambda _: self._answers > answers, answer_s)
        self._asked = None
        self.board.tally.answers += 1

    def _on_audio(self, piece: bytes) -> None:
        now, tally = time.monotonic(), self.board.tally
        if self._asked is not None:
            tally.first_audio_s.append(now - self._asked)
            self._asked = None
        gaps, gap_s = self.playback.gaps, self.playback.gap_s
        seconds = len(piece) / 2 / OUTPUT_RATE_HZ
        self.playback.piece(now, seconds)
        tally.audio_s += seconds
        tally.gaps += self.playback.gaps - gaps
        tally.gap_s += self.playback.gap_s - gap_s

    def _on_message(self, message: ServerMessage) -> None:
        match message:
            case TurnCompleted():
                self._answers += 1
                self.playback.answer_over()
            case Interrupted():
                self.playback.interrupted(time.monotonic())
