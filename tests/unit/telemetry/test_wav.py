"""WAV files, and where the last utterance in a piece of audio begins."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable
from pathlib import Path

import pytest

from support.simulated_call import noise, silence, tone
from voicespan.wav import HEADER_BYTES, utterance_start, wav
from voicespan_server.client import read_wav

DEMO = Path(__file__).parents[3] / "app/voicespan_server/demo_audio"


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 48_000])
def test_a_reader_finds_what_was_written(rate_hz: int) -> None:
    pcm = tone(0.25, rate_hz)
    content = wav(pcm, rate_hz)
    assert len(content) == HEADER_BYTES + len(pcm)
    with wave.open(io.BytesIO(content)) as file:
        assert file.getparams()[:4] == (1, 2, rate_hz, len(pcm) // 2)
        assert file.readframes(file.getnframes()) == pcm


@pytest.mark.parametrize(
    ("name", "pcm", "begins_s"),
    [
        ("one utterance", silence(5) + tone(1) + silence(1), 4.5),
        ("with a pause inside", silence(5) + tone(1) + silence(1.5) + tone(1) + silence(1), 4.5),
        ("after another one", tone(1) + silence(4) + tone(1) + silence(1), 4.5),
        ("after a click", silence(1) + tone(0.01, peak=30_000) + silence(4) + tone(1) + silence(1), 4.5),
        ("at once", tone(1) + silence(1), 0.0),
        ("in noise", noise(5, 100) + tone(1) + noise(1, 100), 4.5),
        ("in noise as loud", noise(7, 9_000), 0.0),
        ("nothing", silence(7), 0.0),
        ("no sample", b"", 0.0),
        ("too short for a block", silence(0.001), 0.0),
    ],
)
def test_the_last_utterance_is_found_with_half_a_second_ahead(name: str, pcm: bytes, begins_s: float) -> None:
    assert utterance_start(pcm, 16_000, 0.5) / 32_000 == pytest.approx(begins_s, abs=0.05), name
    assert utterance_start(pcm, 16_000, 0.5) % 2 == 0


@pytest.mark.parametrize("name", ["01-navigate", "02-search", "03-market", "04-thanks"])
@pytest.mark.parametrize("background", [silence, lambda seconds: noise(seconds, 300)], ids=["silence", "noise"])
def test_a_voice_is_found(name: str, background: Callable[[float], bytes]) -> None:
    clip = background(5) + read_wav(DEMO / f"{name}.wav") + background(1)
    assert utterance_start(clip, 16_000, 0.5) / 32_000 == pytest.approx(4.55, abs=0.1)


def test_the_utterance_that_was_noticed_is_kept_whole_whatever_pauses_follow() -> None:
    pcm = silence(5) + tone(1) + silence(4) + tone(1)
    assert utterance_start(pcm, 16_000, 0.5, noticed=len(silence(5.3))) / 32_000 == pytest.approx(4.5, abs=0.05)
    assert utterance_start(pcm, 16_000, 0.5, noticed=len(silence(4.9))) / 32_000 == pytest.approx(4.4, abs=0.05)
