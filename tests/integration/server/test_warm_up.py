"""What google-genai builds at first use is built before the first call."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from google.genai import live

from voicespan_server import warm_up as module
from voicespan_server.live import connect_to
from voicespan_server.settings import Settings
from voicespan_server.warm_up import MESSAGES, warm_up

SETTINGS = {"backend": "gemini", "gemini_api_key": "k"}


@pytest.mark.parametrize("backend", ["gemini", "vertex"])
async def test_samples_of_all_that_a_call_receives_are_read(backend: str) -> None:
    settings = Settings(**{**SETTINGS, "backend": backend})  # type: ignore[arg-type]
    assert await warm_up(connect_to(settings), settings) == len(MESSAGES)


def test_the_models_are_built_by_it() -> None:
    program = f"""
import asyncio
from google.genai import types
from voicespan_server.live import connect_to
from voicespan_server.settings import Settings
from voicespan_server.warm_up import warm_up
settings = Settings(**{SETTINGS})
assert not types.LiveServerMessage.__pydantic_complete__
asyncio.run(warm_up(connect_to(settings), settings))
for built in (types.LiveServerMessage, types.LiveConnectConfig, types.Blob, types.FunctionResponse):
    assert built.__pydantic_complete__, built
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


async def test_a_sdk_that_is_not_as_it_is_known_only_makes_the_first_call_slower(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def renamed(**_: object) -> live.AsyncSession:
        raise TypeError("no such argument")

    monkeypatch.setattr(module.live, "AsyncSession", renamed)
    settings = Settings(**SETTINGS)  # type: ignore[arg-type]
    assert await warm_up(connect_to(settings), settings) == 0
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
