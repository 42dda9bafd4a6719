"""Sounds of a call, at 16 kHz: noises, music, hum, breaths, clicks, rooms. Pure functions of a random generator."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

RATE = 16_000
Sound = list[float]


def seconds(duration_s: float) -> int:
    """Samples."""
    return round(duration_s * RATE)


def rms(sound: Sequence[float]) -> float:
    """Root mean square; 0 of nothing."""
    return math.sqrt(sum(s * s for s in sound) / len(sound)) if sound else 0.0


def scaled(sound: Sequence[float], to_rms: float) -> Sound:
    """The sound at a level."""
    gain = to_rms / (rms(sound) or 1.0)
    return [s * gain for s in sound]


def decibels(change: float) -> float:
    """As a factor of amplitude."""
    return math.pow(10.0, change / 20)


def added(base: Sound, sound: Sequence[float], at: int = 0) -> Sound:
    """The sum; what lies outside the base is cut."""
    end = min(len(base), at + len(sound))
    return [*base[:at], *(a + b for a, b in zip(base[at:end], sound, strict=False)), *base[end:]]


def white(rng: random.Random, samples: int) -> Sound:
    """Hiss."""
    return [rng.gauss(0, 1) for _ in range(samples)]


def pink(rng: random.Random, samples: int) -> Sound:
    """Rooms and streets: -3 dB per octave, by three leaky integrators (Kellet's economy filter)."""
    a = b = c = 0.0
    sound = []
    for w in white(rng, samples):
        a = 0.99765 * a + w * 0.0990460
        b = 0.96300 * b + w * 0.2965164
        c = 0.57000 * c + w * 1.0526913
        sound.append(a + b + c + w * 0.1848)
    return sound


def brown(rng: random.Random, samples: int) -> Sound:
    """Cars and fans: -6 dB per octave above 20 Hz."""
    return list(accumulate(white(rng, samples), lambda before, w: 0.992 * before + w))


def hum(rng: random.Random, samples: int) -> Sound:
    """A mains adapter: 50 or 60 Hz and its odd harmonics."""
    base = rng.choice((50.0, 60.0))
    parts = [(base * n, rng.uniform(0.3, 1.0) / n, rng.uniform(0, math.tau)) for n in (1, 2, 3, 5, 7)]
    return [sum(a * math.sin(math.tau * f * n / RATE + p) for f, a, p in parts) for n in range(samples)]


def music(rng: random.Random, samples: int) -> Sound:
    """Chords that change twice a second or so, and a beat."""
    sound = [0.0] * samples
    beat = seconds(60 / rng.uniform(80, 130))
    for number, start in enumerate(range(0, samples, beat)):
        root = 110.0 * 2 ** (rng.choice((0, 3, 5, 7, 8)) / 12)
        if number % 2 == 0:
            notes = [root * step * math.tau / RATE for step in (1, 1.25, 1.5, 2, 4)]
            chord = [
                sum(math.sin(w * n) / (1 + i) for i, w in enumerate(notes)) * math.exp(-n / (1.2 * RATE))
                for n in range(2 * beat)
            ]
            sound = added(sound, chord, start)
        decay = seconds(0.03 if number % 2 else 0.08)
        drum = [
            1.5 * math.exp(-n / decay) * (rng.gauss(0, 0.7) if number % 2 else math.sin(math.tau * 70 * n / RATE))
            for n in range(4 * decay)
        ]
        sound = added(sound, drum, start)
    return sound


def babble(voices: Sequence[Sequence[float]]) -> Callable[[random.Random, int], Sound]:
    """Other people talking: eight at once, each over and over."""

    def talk(rng: random.Random, samples: int) -> Sound:
        sound = [0.0] * samples
        for _ in range(8):
            at = -rng.randrange(RATE)
            while at < samples:
                voice = scaled(rng.choice(voices), rng.uniform(0.4, 1.0))
                sound = added(sound, voice[max(0, -at) :], max(0, at))
                at += len(voice) + rng.randrange(RATE // 4)
        return sound

    return talk


def breath(rng: random.Random) -> Sound:
    """A fifth to two fifths of a second of soft noise that swells and fades."""
    samples = seconds(rng.uniform(0.2, 0.4))
    noise = white(rng, samples)
    smooth = [(a + b) / 2 for a, b in pairwise([*noise, 0.0])]
    return [s * math.sin(math.pi * n / samples) for n, s in enumerate(smooth)]


def click(rng: random.Random) -> Sound:
    """A key or a mouse: 2 to 15 ms, and its ring."""
    decay = seconds(rng.uniform(0.002, 0.015)) / 3
    frequency = rng.uniform(600, 3_000)
    return [
        math.exp(-n / decay) * (rng.gauss(0, 0.5) + math.sin(math.tau * frequency * n / RATE))
        for n in range(round(decay * 3))
    ]


def in_a_room(rng: random.Random, dry: Sequence[float], tail_s: float) -> Sound:
    """With reverberation, 8 to 14 dB below the direct sound, that falls by 60 dB in 0.25 to 0.45 s (parallel combs)."""
    fall_s = rng.uniform(0.25, 0.45)
    padded = [*dry, *([0.0] * seconds(tail_s))]
    wet = [0.0] * len(padded)
    for delay in (473, 547, 601, 661, 719):
        feedback = math.pow(10.0, -3 * delay / RATE / fall_s)
        line = [0.0] * delay
        for n, s in enumerate(padded):
            out = line[n % delay]
            line[n % delay] = s + feedback * out
            wet[n] += out
    wet = scaled(wet, rms(padded) * decibels(-rng.uniform(8, 14)))
    return [a + b for a, b in zip(padded, wet, strict=True)]
