"""The call that `verify-live` places: the demo's spoken lines. All that is expected of the model is that it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from voicespan_server import client as voice_client
from voicespan_server.client import VoiceClient
from voicespan_server.server_messages import Interrupted, ToolStarted, TurnCompleted

ASKED = ("01-navigate.wav", "02-search.wav")
LONG_STORY, TALKED_OVER_BY = "03-market.wav", "04-thanks.wav"
USER = "verify-live"
# How long a model may take for one answer, and how much of the long one is listened to before it is talked over.
ANSWER_S = 45.0
PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True)
class Placed:
    """A call that was placed; `notes` say where the model did not do what it was hoped to."""

    trace_id: str
    session_id: str
    notes: list[str] = field(default_factory=list)


async def place_call(url: str) -> Placed:
    """Two questions that ask for tools, and a third whose answer is talked over.

    Raises:
        CallError, OSError, TimeoutError: the call did not come about, broke off, or had no answer at all.
    """
    async with voice_client.call(url, user_id=USER) as call:
        placed = Placed(call.trace_id, call.session_id)
        for number, name in enumerate(ASKED):
            done = _completed(call)
            await call.say(_line(name))
            # Without a first answer there is nothing to verify; without a later one there is.
            await _answered(call, done + 1, None if number == 0 else placed, name)
        done, heard_s = _completed(call), call.heard_s
        await call.say(_line(LONG_STORY))
        if await _until(call, placed, "the long story did not begin", lambda c: c.heard_s > heard_s):
            await asyncio.sleep(PATIENCE_S)
        await call.say(_line(TALKED_OVER_BY))
        await _answered(call, done + 2, placed, TALKED_OVER_BY)
        if not call.of(Interrupted):
            placed.notes.append("the model was not interrupted by being talked over")
        if not call.of(ToolStarted):
            placed.notes.append("the model called no tool")
        await call.hang_up()
        return placed


async def _answered(call: VoiceClient, turns: int, placed: Placed | None, name: str) -> None:
    def enough(running: VoiceClient) -> bool:
        return _completed(running) >= turns

    if placed is None:
        await call.wait_for(enough, ANSWER_S)
    else:
        await _until(call, placed, f"no answer to {name} within {ANSWER_S:g} s", enough)


async def _until(call: VoiceClient, placed: Placed, otherwise: str, wanted: Callable[[VoiceClient], bool]) -> bool:
    try:
        await call.wait_for(wanted, ANSWER_S)
    except TimeoutError:
        placed.notes.append(otherwise)
        return False
    return True


def _completed(call: VoiceClient) -> int:
    return len(call.of(TurnCompleted))


def _line(name: str) -> bytes:
    return voice_client.read_wav(Path(str(files(__package__) / "demo_audio" / name)))
