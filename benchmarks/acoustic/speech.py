"""Speech whose end is known: sentences spoken by eSpeak NG, cached outside the tree, and the demo's recordings."""

from __future__ import annotations

import array
import hashlib
import math
import operator
import os
import random
import shutil
import subprocess
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import accumulate, pairwise
from pathlib import Path

from benchmarks.acoustic.sounds import RATE, Sound, decibels, seconds

DEMO_AUDIO = Path(__file__).parents[2] / "app" / "voicespan_server" / "demo_audio"
# A listener makes use of the 30 dB below the peaks of speech and of no more, in each band by itself (the speech
# intelligibility index, ANSI S3.5): a soft f or s is far below the vowels and the loudest there is in its own band. Two
# bands do here: all, and the first difference of samples, which is for high sounds what the ear is. The peak is that of
# the last (or first) second: the last word may be softer than the first.
AUDIBLE_DB = -30.0
PEAK_S = 1.0
ENVELOPE_S = 0.010

INSTALL = "eSpeak NG speaks the sentences and is not installed: apt-get install espeak-ng, or brew install espeak-ng"


class NoSpeakerError(RuntimeError):
    """eSpeak NG is missing."""


@dataclass(frozen=True)
class Cast:
    """Who speaks and what is said. `|` is a pause. `soft` are sentences with a soft last sound."""

    voices: tuple[str, ...]
    sentences: tuple[str, ...]
    soft: tuple[str, ...]
    paused: tuple[str, ...]
    recordings: tuple[str, ...]


# Thresholds are chosen with the first and reported with the second: other voices, other words, other noise.
TUNING = Cast(
    voices=(
        *("en-us", "en-gb", "en-us+f3", "en-gb+f5", "en-us+m3", "en-gb-scotland", "de", "en-us+Gene"),
        *("en-us+belinda", "en-us+steph", "en-us+max", "en-gb+m4", "it", "pt-br", "nl", "en-us-nyc"),
        *("en-us+Mario", "en-us+Alicia", "en-us+f2", "en-gb-x-rp", "en-us+m7", "en-gb+f4", "en-029"),
        *("en-us+Andy", "es", "en-gb+m2", "fr", "en-us+linda"),
    ),
    sentences=(
        "Find a quiet cafe near the station.",
        "What is the weather like tomorrow?",
        "Play something else.",
        "Can you book a table for two at the corner restaurant on Friday evening?",
        "No.",
        "Take me there now.",
        "How long does it take to get to the airport by train at this time of day?",
        "I would like a glass of water and a sandwich.",
        "Okay, thanks.",
        "Which one of these is the cheapest?",
        "Set an alarm for half past six.",
        "That is not what I asked.",
        "Is it going to rain this week?",
        "Next.",
        "Turn the lights in the living room blue.",
        "Tell me a story about a dragon and a wizard.",
        "Sure, go ahead.",
        "Where is the next petrol station with a car wash?",
        "Read me the news, please.",
        "How old was she when she moved to Paris?",
        "Where can I park near the old market hall?",
        "Yes.",
        "Add milk and butter to my shopping list.",
        "Who wrote the book that you told me about yesterday?",
        "Stop the music.",
        "Is the museum open on Sunday morning or only in the afternoon?",
        "Call my sister and tell her that I am going to be an hour late.",
        "Good morning, how are you?",
    ),
    soft=(
        "Turn off the kitchen lights.",
        "I think that is enough.",
        "Tell me what he wrote about it.",
        "Wait for me at home.",
        "Put it on the roof.",
        "Is there a place that sells fresh fish?",
        "Who is the boss?",
        "Add a loaf and some leaves.",
        "Read the last chapter of the first part.",
        "I want both.",
        "Give me a brief.",
        "Start the film at the same time.",
        "What are the opening hours of the nearest shops?",
        "Please call my wife.",
        "How much does that cost?",
        "Show me the way to the museum.",
        "That one looks a bit too rough.",
        "Could you translate this into Polish?",
    ),
    paused=(
        "I am looking for | a bakery that opens early.",
        "Tell me | well | what you would do.",
        "The one on the left | no | the other one.",
        "My number is four five | seven seven nine.",
        "Could you | sorry | could you say that again, please?",
        "Let us meet | at six.",
        "I need a room for | let me see | three nights.",
        "Remind me to | water the flowers.",
        "It is either Monday | or Thursday.",
        "Go back | and read the first one again.",
    ),
    recordings=("01-navigate.wav", "02-search.wav"),
)
HELD_OUT = Cast(
    voices=(
        *("en-us+f1", "en-us+m6", "en-us+m8", "en-us+Andrea", "en-us+Diogo", "en-gb-x-rp+Lee", "en-us+Annie"),
        *("en-us+Denis", "en-us+Michael", "en-gb-scotland+anika", "en-us-nyc+f4", "en-gb-x-gbclan", "sv", "pl"),
    ),
    sentences=(
        "Is there a vegetarian menu?",
        "Never mind.",
        "Put my phone on silent until lunch.",
        "Which bus goes to the botanical garden from here?",
        "Could you explain that again in simpler words?",
        "Do I need an umbrella today?",
        "Lower the volume a little bit.",
        "Maybe.",
        "Send my brother a message that the flight is delayed by forty minutes.",
        "What did the doctor say about the medicine?",
        "Yes, that works for me.",
        "How many ounces are in a pound?",
    ),
    soft=(
        "Open the garage with the code on my desk.",
        "Can you find a cheap flight?",
        "That was rather stiff.",
        "Let us have lunch at the beach.",
        "I would rather stay on this path.",
        "Which team took the cup?",
        "Tell me a few facts.",
        "Move it to the other shelf.",
    ),
    paused=(
        "Well | I suppose so.",
        "Order two coffees | and a slice of cake.",
        "What about | hold on | the eleventh of March?",
        "Not that one | the green one over there.",
        "It starts | around nine.",
    ),
    recordings=("03-market.wav", "04-thanks.wav"),
)


def spoken(cast: Cast, rng: random.Random, sentences: Sequence[str], rate_hz: int = RATE) -> Sound:
    """A sentence by one of the cast, with a pause of 0.2 to 0.9 s at each bar, without silence before and after."""
    take = rng.choice(_takes(cast, tuple(sentences)))
    sound: Sound = []
    for part in take.words.split("|"):
        pause = seconds(rng.uniform(0.2, 0.9)) if sound else 0
        sound = [*sound, *([0.0] * pause), *_trimmed(_render(take, part.strip(), rate_hz))]
    return sound


@dataclass(frozen=True)
class _Take:
    words: str
    voice: str
    speed: int  # words a minute
    pitch: int  # eSpeak's, 0 to 99


@cache
def _takes(cast: Cast, sentences: tuple[str, ...]) -> list[_Take]:
    """Three voices for each sentence, so that rendering takes seconds and the cache a few megabytes."""
    rng = random.Random("takes")
    return [
        _Take(words, voice, rng.randrange(120, 211, 15), rng.randrange(35, 71, 5))
        for words in sentences
        for voice in rng.sample(cast.voices, 3)
    ]


def recorded(cast: Cast, rng: random.Random) -> Sound:
    """One of the demo's recordings, without silence before and after."""
    return _trimmed(_read(DEMO_AUDIO / rng.choice(cast.recordings)))


def end_of_speech(clean: Sequence[float]) -> int:
    """The label: the sample where the last audible 10 ms end, in either band."""
    return len(clean) - start_of_speech(clean[::-1], RATE)


def start_of_speech(clean: Sequence[float], rate_hz: int) -> int:
    """The sample where the first audible 10 ms begin, in either band."""
    high = [a - b for a, b in pairwise(clean)]
    return min(_first_audible(clean, rate_hz), _first_audible(high, rate_hz))


def _first_audible(band: Sequence[float], rate_hz: int) -> int:
    width, hop, second = round(ENVELOPE_S * rate_hz), rate_hz // 1_000, round(PEAK_S * rate_hz)
    power = list(accumulate((s * s for s in band), initial=0.0))
    starts = range(0, len(band) - width, hop)
    envelope = [power[start + width] - power[start] for start in starts]
    first = next(index for index, energy in enumerate(envelope) if energy > 0)
    audible = max(envelope[first : first + second // hop]) * decibels(AUDIBLE_DB) ** 2
    return starts[next(index for index, energy in enumerate(envelope) if energy >= audible)]


def _trimmed(sound: Sound) -> Sound:
    """Without the silence that a synthesiser puts before and after; what is inaudible at the ends stays."""
    first = next(index for index, s in enumerate(sound) if abs(s) > 1)
    last = next(index for index in range(len(sound) - 1, -1, -1) if abs(sound[index]) > 1)
    return sound[first : last + 1]


def _render(take: _Take, words: str, rate_hz: int) -> Sound:
    name = hashlib.sha256(f"{take}/{words}/{rate_hz}".encode()).hexdigest()[:20]
    path = cache_folder() / f"{name}.wav"
    if not path.exists():
        if not shutil.which("espeak-ng"):
            raise NoSpeakerError(INSTALL)
        manner = ["-v", take.voice, "-s", str(take.speed), "-p", str(take.pitch), "-z", "--stdout"]
        said = subprocess.run(["espeak-ng", *manner, words], check=True, capture_output=True).stdout
        # The header was written before the length was known: it is good for the rate alone.
        with wave.open(BytesIO(said)) as wav:
            rendered_hz, pcm = wav.getframerate(), said[44:]
        samples = resampled(array.array("h", pcm[: len(pcm) // 2 * 2]), rendered_hz, rate_hz)
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.with_suffix(f".{os.getpid()}")
        with wave.open(str(whole), "wb") as wav:
            wav.setnchannels(1)
            wav.setsampwidth(2)
            wav.setframerate(rate_hz)
            wav.writeframes(array.array("h", (max(-32768, min(32767, round(s))) for s in samples)).tobytes())
        whole.rename(path)
    return _read(path)


def cache_folder() -> Path:
    """Where rendered speech is kept: outside the tree, some ten megabytes."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "voicespan" / "acoustic"


def _read(path: Path) -> Sound:
    with wave.open(str(path)) as wav:
        return list(map(float, array.array("h", wav.readframes(wav.getnframes()))))


def resampled(samples: Sequence[float], from_hz: int, to_hz: int) -> Sound:
    """At another rate: a windowed sinc that cuts at 0.95 of the lower rate's half."""
    cut, half, phases = 0.95 * min(1.0, to_hz / from_hz), 24, 64
    taps = []
    for phase in range(phases):
        offsets = [n - half + 1 - phase / phases for n in range(2 * half)]
        row = [_sinc(cut * t) * (0.5 + 0.5 * math.cos(math.pi * t / (half + 1))) for t in offsets]
        taps.append([tap / sum(row) for tap in row])
    padded = [*([0.0] * half), *samples, *([0.0] * (half + 1))]
    sound = []
    for n in range(len(samples) * to_hz // from_hz):
        at = n * from_hz / to_hz
        whole = int(at)
        row = taps[int((at - whole) * phases)]
        sound.append(sum(map(operator.mul, row, padded[whole + 1 : whole + 1 + 2 * half])))
    return sound


def _sinc(x: float) -> float:
    return math.sin(math.pi * x) / (math.pi * x) if x else 1.0
