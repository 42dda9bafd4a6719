"""The model's voice: committed clips, and a generic one that is cut to the length that a text would take."""

import wave
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from voicespan_simulator.scenario import Answer

RATE_HZ = 24_000
BYTES_PER_S = RATE_HZ * 2
CHARACTERS_PER_S = 15
_GENERIC = "generic"


@dataclass(frozen=True, slots=True)
class Voice:
    """PCM16 mono at 24 kHz by clip name."""

    clips: Mapping[str, bytes]

    def speak(self, answer: Answer) -> bytes:
        """The audio of an answer."""
        if answer.clip is not None:
            return self.clips[answer.clip]
        generic = self.clips[_GENERIC]
        size = int(len(answer.text) / CHARACTERS_PER_S * RATE_HZ) * 2
        return (generic * (size // len(generic) + 1))[:size]


def load_voice() -> Voice:
    """Reads the package's clips."""
    folder = files("voicespan_simulator") / "clips"
    clips: dict[str, bytes] = {}
    for item in folder.iterdir():
        if item.name.endswith(".wav"):
            with item.open("rb") as file, wave.open(file) as audio:
                if (audio.getframerate(), audio.getnchannels(), audio.getsampwidth()) != (RATE_HZ, 1, 2):
                    raise ValueError(f"{item.name}: 24 kHz mono PCM16 is needed; run scripts/render-clips")
                clips[item.name.removesuffix(".wav")] = audio.readframes(audio.getnframes())
    return Voice(clips)


def seconds_of(pcm_bytes: int) -> float:
    """Length of that much of the model's audio."""
    return pcm_bytes / BYTES_PER_S
