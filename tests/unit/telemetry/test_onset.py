"""Where a piece of the model's voice can first be heard: at once, after silence, hiss, a single sample."""

from __future__ import annotations

import array
import random
import wave
from pathlib import Path

import pytest

import voicespan_simulator
from voicespan.onset import leading_silence_s

RATE = 24_000


def clip(name: str) -> array.array[int]:
    """A model's voice that begins within 10 ms."""
    with wave.open(str(Path(voicespan_simulator.__path__[0]) / "clips" / f"{name}.wav")) as wav:
        assert wav.getframerate() == RATE
        return array.array("h", wav.readframes(RATE))


RNG = random.Random(1)
HISS = [RNG.randint(-20, 20) for _ in range(RATE)]
VOICES = {name: clip(name) for name in ("generic", "goodbye", "market", "navigate", "plain", "search")}


@pytest.mark.parametrize("name", VOICES)
@pytest.mark.parametrize("silence_s", [0.0, 0.013, 0.3])
@pytest.mark.parametrize("hiss", [0, 1])
def test_it_is_found_within_20_ms(name: str, silence_s: float, hiss: int) -> None:
    sound = [0] * round(silence_s * RATE) + list(VOICES[name][: RATE // 2])
    noisy = (max(-32768, min(32767, s + hiss * h)) for s, h in zip(sound, HISS, strict=False))
    found = leading_silence_s(array.array("h", noisy).tobytes(), RATE)
    assert found is not None
    assert abs(found - silence_s) <= 0.020


def test_a_single_sample_is_not_heard() -> None:
    sample = array.array("h", [20_000]).tobytes()
    assert leading_silence_s(sample, RATE) is None
    found = leading_silence_s(sample + bytes(2 * RATE // 10) + VOICES["plain"].tobytes(), RATE)
    assert found == pytest.approx(0.1, abs=0.020)


def test_of_silence_hiss_and_nothing_there_is_nothing_to_hear() -> None:
    assert leading_silence_s(b"", RATE) is None
    assert leading_silence_s(b"\x00", RATE) is None
    assert leading_silence_s(bytes(2 * RATE), RATE) is None
    assert leading_silence_s(array.array("h", HISS).tobytes(), RATE) is None


def test_a_piece_that_ends_in_mid_sample_counts_for_its_whole_ones() -> None:
    pcm = bytes(2 * RATE // 10) + VOICES["plain"].tobytes()
    assert leading_silence_s(pcm + b"\x01", RATE) == leading_silence_s(pcm, RATE)
