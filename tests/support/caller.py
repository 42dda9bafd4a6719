"""Callers for end-to-end tests: the client of the product, speaking tones, many times faster than real time."""

from __future__ import annotations

import array
import math
from contextlib import AbstractAsyncContextManager

from voicespan_server import client
from voicespan_server.client import VoiceClient
from voicespan_server.server_messages import TurnCompleted

PACE = 0.05


def speech(seconds: float = 1.0, rate: int = 16_000) -> bytes:
    """Something a voice detector takes for speech: a loud tone."""
    samples = (round(12_000 * math.sin(2 * math.pi * 220 * n / rate)) for n in range(int(seconds * rate)))
    return array.array("h", samples).tobytes()


def call(url: str, **more: str) -> AbstractAsyncContextManager[VoiceClient]:
    return client.call(url, pace=PACE, user_id="user-1", **more)


async def ask(caller: VoiceClient) -> None:
    """Say something and wait for the end of the turn that answers it."""
    done = len(caller.of(TurnCompleted))
    await caller.say(speech())
    await caller.wait_for(lambda c: len(c.of(TurnCompleted)) > done)


async def talk_over(caller: VoiceClient, *, turns: int) -> None:
    """Say something, and something else as soon as the answer begins; wait until `turns` more turns are over."""
    done = len(caller.of(TurnCompleted))
    heard = caller.audio_bytes
    await caller.say(speech())
    await caller.wait_for(lambda c: c.audio_bytes > heard)
    await caller.say(speech())
    await caller.wait_for(lambda c: len(c.of(TurnCompleted)) >= done + turns)
