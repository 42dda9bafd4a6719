"""The conditions: what a microphone hears of a sentence, and for how long it stays open after it."""

from __future__ import annotations

import array
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

from benchmarks.acoustic import sounds
from benchmarks.acoustic.sounds import Sound, added, decibels, scaled, seconds
from benchmarks.acoustic.speech import Cast, end_of_speech, recorded, spoken

FULL_SCALE = 32_768.0
Noise = Callable[[random.Random, int], Sound]


@dataclass(frozen=True)
class Clip:
    """16-bit mono at 16 kHz, in frames of some samples; speech ends at sample `end`."""

    pcm: bytes
    frame: int
    end: int


@dataclass(frozen=True)
class Scene:
    """One condition: who speaks how loud, and what else is heard.

    `level_db` is the speech's RMS below full scale, from and to; over its last second it falls by `falls_db`.
    Backgrounds are `snr_db` below the speech.
    """

    name: str
    level_db: tuple[float, float] = (-36.0, -18.0)
    sentences: str = "sentences"
    noise: Noise | None = None
    snr_db: tuple[float, float] = (0.0, 0.0)
    falls_db: tuple[float, float] = (0.0, 0.0)
    after: Callable[[Stage], Sound] | None = None


class Stage:
    """A clip in the making: the speech stands in it at its level, `end` is known, the rest is added."""

    def __init__(self, scene: Scene, cast: Cast, rng: random.Random) -> None:
        self.rng, self.cast = rng, cast
        speech = (
            recorded(cast, rng)
            if scene.sentences == "recordings"
            else spoken(cast, rng, getattr(cast, scene.sentences))
        )
        self.level = FULL_SCALE * decibels(rng.uniform(*scene.level_db))
        self.speech = _falling(scaled(speech, self.level), rng.uniform(*scene.falls_db))
        self.before, self.open = seconds(rng.uniform(0.3, 3.0)), seconds(rng.uniform(0.4, 3.0))
        self.end = self.before + end_of_speech(self.speech)
        samples = self.end + self.open
        self.sound = added([0.0] * samples, self.speech, self.before)
        if scene.noise:
            self.sound = added(self.sound, scaled(_some(scene.noise, rng, samples), self.below(scene.snr_db)))
        if scene.after:
            self.sound = scene.after(self)

    def below(self, snr_db: tuple[float, float]) -> float:
        """The RMS of something that is so much below the speech."""
        return self.level * decibels(-self.rng.uniform(*snr_db))

    def clip(self) -> Clip:
        """As a microphone hands it over."""
        pcm = array.array("h", (max(-32768, min(32767, round(s))) for s in self.sound)).tobytes()
        return Clip(pcm, seconds(self.rng.choice((0.020, 0.040, 0.064, 0.100))), self.end)


def clips(scene: Scene, cast: Cast, seed: str, count: int) -> Iterator[Clip]:
    """So many clips of a condition; the same for the same seed."""
    for number in range(count):
        yield Stage(scene, cast, random.Random(f"{seed}/{scene.name}/{number}")).clip()


def _some(noise: Noise, rng: random.Random, samples: int) -> Sound:
    """From anywhere in a stretch of it: to make it anew for each clip would take most of the time."""
    stretch = _stretch(noise)
    start = rng.randrange(len(stretch) - samples)
    return stretch[start : start + samples]


@cache
def _stretch(noise: Noise) -> Sound:
    return noise(random.Random("noise"), seconds(30.0))


def _falling(speech: Sound, by_db: float) -> Sound:
    start, width = max(0, len(speech) - seconds(1.0)), seconds(1.0)
    return [*speech[:start], *(s * decibels(-by_db * n / width) for n, s in enumerate(speech[start:]))]


def _breath(stage: Stage) -> Sound:
    """0.15 to 0.5 s after the last word, 28 to 36 dB below the speech's level."""
    breath = scaled(sounds.breath(stage.rng), stage.below((28, 36)))
    return added(_quiet_room(stage), breath, stage.end + seconds(stage.rng.uniform(0.15, 0.5)))


def _clicks(stage: Stage) -> Sound:
    """One to four keys or mouse buttons after the last word, up to as loud as it."""
    sound = _quiet_room(stage)
    for _ in range(stage.rng.randint(1, 4)):
        click = scaled(sounds.click(stage.rng), stage.below((-3, 20)))
        sound = added(sound, click, stage.end + seconds(stage.rng.uniform(0.1, 2.5)))
    return sound


def _room(stage: Stage) -> Sound:
    """Reverberation. Speech ends where the direct sound does."""
    wet = sounds.in_a_room(stage.rng, stage.speech, 0.8)
    return added(
        _quiet_room(stage),
        [w - d for w, d in zip(wet, [*stage.speech, *([0.0] * len(wet))], strict=False)],
        stage.before,
    )


def _echo(stage: Stage, *, goes_on: bool) -> Sound:
    """The model's voice from the loudspeaker, what echo cancelling left of it: 22 to 36 dB below the user's.

    It ends 0.3 s before the user's last word to 0.5 s after it, or goes on to the end.
    """
    sound = _quiet_room(stage)
    end = len(sound) if goes_on else stage.end + seconds(stage.rng.uniform(-0.3, 0.5))
    voice: Sound = []
    while len(voice) < end:
        voice = [*voice, *recorded(stage.cast, stage.rng), *([0.0] * seconds(0.2))]
    echo = sounds.in_a_room(stage.rng, voice[-end:], 0.5)
    return added(sound, scaled(echo, stage.below((22, 36))))


def _suppressed(stage: Stage) -> Sound:
    """Pink noise, 20 to 30 dB down, that a noise suppressor lets through with speech. It fades in 0.1 to 0.3 s."""
    noise = scaled(_some(sounds.pink, stage.rng, len(stage.sound)), stage.below((20, 30)))
    fade = seconds(stage.rng.uniform(0.1, 0.3))
    floor = 0.01
    gains = (max(floor, min(1.0, 1 - (n - stage.end) / fade)) for n in range(len(noise)))
    return added(stage.sound, [s * gain for s, gain in zip(noise, gains, strict=True)])


def _quiet_room(stage: Stage) -> Sound:
    """A microphone's own noise and a quiet room: pink, 66 to 76 dB below full scale."""
    level = FULL_SCALE * decibels(-stage.rng.uniform(66, 76))
    return added(stage.sound, scaled(_some(sounds.pink, stage.rng, len(stage.sound)), level))


def scenes(cast: Cast) -> tuple[Scene, ...]:
    """All conditions."""
    rng = random.Random("babble")
    talk = sounds.babble([spoken(cast, rng, cast.sentences) for _ in range(12)])
    clean = [Scene(f"clean {db}", (db, db)) for db in (-15, -25, -35, -45)]
    noises: dict[str, Noise] = {"white": sounds.white, "pink": sounds.pink, "brown": sounds.brown, "babble": talk}
    noisy = [
        Scene(f"{name} {snr} dB", noise=noise, snr_db=(snr, snr))
        for name, noise in noises.items()
        for snr in (30, 20, 10)
    ]
    return (
        *clean,
        Scene("quiet room", (-40, -20), after=_quiet_room),
        Scene("recordings", sentences="recordings", after=_quiet_room),
        Scene("trailing off", falls_db=(8, 18), after=_quiet_room),
        Scene("pauses", sentences="paused", after=_quiet_room),
        Scene("soft end", sentences="soft", after=_quiet_room),
        Scene("soft end, pink 25 dB", sentences="soft", noise=sounds.pink, snr_db=(25, 25)),
        *noisy,
        Scene("music 25 dB", noise=sounds.music, snr_db=(25, 25)),
        Scene("music 15 dB", noise=sounds.music, snr_db=(15, 15)),
        Scene("hum 20 dB", noise=sounds.hum, snr_db=(20, 20)),
        Scene("hum 10 dB", noise=sounds.hum, snr_db=(10, 10)),
        Scene("breath", after=_breath),
        Scene("clicks", after=_clicks),
        Scene("room", after=_room),
        Scene("echo ends", after=partial(_echo, goes_on=False)),
        Scene("echo goes on", after=partial(_echo, goes_on=True)),
        Scene("noise suppressor", after=_suppressed),
    )
