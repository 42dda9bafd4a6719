"""How pieces of the model's voice begin: at once, after silence, after hiss, after the single sample that some send."""

from __future__ import annotations

import array
import random
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.acoustic.conditions import FULL_SCALE
from benchmarks.acoustic.sounds import Sound, decibels, scaled
from benchmarks.acoustic.speech import Cast, spoken, start_of_speech

MODEL_RATE = 24_000
GIVEN_S = 1.0  # what is looked at of a turn's first audio


@dataclass(frozen=True)
class Opening:
    """Up to a second of silence, then the voice, at 24 kHz; hiss so far below full scale is in all of it."""

    name: str
    silence_s: tuple[float, float] = (0.0, 0.0)
    hiss_db: tuple[float, float] | None = None
    single_sample: bool = False


OPENINGS = (
    Opening("at once"),
    Opening("silence first", (0.02, 0.5)),
    Opening("hiss first", (0.02, 0.5), (-80, -62)),
    Opening("one sample first", (0.02, 0.3), single_sample=True),
)


def pieces(opening: Opening, cast: Cast, seed: str, count: int) -> Iterator[tuple[bytes, float]]:
    """16-bit mono at 24 kHz, and the seconds of silence it begins with; the voice is 15 to 30 dB below full scale."""
    for number in range(count):
        rng = random.Random(f"{seed}/{opening.name}/{number}")
        voice = scaled(spoken(cast, rng, cast.sentences, MODEL_RATE), FULL_SCALE * decibels(-rng.uniform(15, 30)))
        sound: Sound = [*([0.0] * round(rng.uniform(*opening.silence_s) * MODEL_RATE)), *voice]
        starts = len(sound) - len(voice) + start_of_speech(voice, MODEL_RATE)
        if opening.single_sample:
            sound[0] = rng.uniform(-3_000, 3_000)
        if opening.hiss_db:
            hiss = FULL_SCALE * decibels(rng.uniform(*opening.hiss_db))
            sound = [s + rng.gauss(0, hiss) for s in sound]
        given = sound[: round(GIVEN_S * MODEL_RATE)]
        pcm = array.array("h", (max(-32768, min(32767, round(s))) for s in given)).tobytes()
        yield pcm, starts / MODEL_RATE
