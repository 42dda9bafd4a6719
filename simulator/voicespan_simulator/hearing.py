"""What a connection hears of the user: where each utterance began and ended, in audio received and by the clock."""

from collections import deque
from collections.abc import Iterator
from time import time_ns

from voicespan_simulator.client_messages import Audio
from voicespan_simulator.deeds import UserDeed
from voicespan_simulator.vad import SpeechDetector, SpeechEnded, SpeechStarted

_MOST_FRAMES = 2_000  # whose time of arrival is remembered


class Hearing:
    """The user's audio and marks. An utterance that has ended is told as a `UserDeed`, its begin as its offset."""

    def __init__(self, silence_s: float) -> None:
        self._detector = SpeechDetector(silence_s=silence_s)
        self._audio_s = 0.0
        self._pressed_s: float | None = None
        self._frames: deque[tuple[float, int]] = deque(maxlen=_MOST_FRAMES)  # end in audio received, arrival

    def hear(self, audio: Audio, *, detects: bool) -> Iterator[float | UserDeed]:
        """Takes audio and tells what was decided in it, in order."""
        self._audio_s += len(audio.pcm) / 2 / audio.rate_hz
        self._frames.append((self._audio_s, time_ns()))
        if not detects:
            return
        for event in self._detector.feed(audio.pcm, audio.rate_hz):
            match event:
                case SpeechStarted():
                    yield event.offset_s
                case SpeechEnded():
                    user = self._utterance(event)
                    user.decided_by = "detector"
                    yield user

    def stream_end(self) -> UserDeed | None:
        """The microphone is off for a while: whoever was speaking has ended."""
        ended = self._detector.flush()
        if ended is None:
            return None
        user = self._utterance(ended)
        user.decided_by = "audio_stream_end"
        return user

    def press(self) -> float:
        """Push to talk: the user begins."""
        self._pressed_s = self._audio_s
        return self._audio_s

    def release(self) -> UserDeed | None:
        """Push to talk: the user has ended, if they had begun."""
        began_s, self._pressed_s = self._pressed_s, None
        if began_s is None:
            return None
        now_ns = time_ns()
        return UserDeed(
            "push_to_talk",
            began_s=round(began_s, 3),
            ended_s=round(self._audio_s, 3),
            decided_s=round(self._audio_s, 3),
            decided_by="activity_end",
            ended_ns=now_ns,
            decided_ns=now_ns,
        )

    def _utterance(self, ended: SpeechEnded) -> UserDeed:
        arrived = (at_ns for end_s, at_ns in self._frames if end_s >= ended.ended_s - 1e-6)
        return UserDeed(
            "spoken",
            began_s=ended.began_s,
            ended_s=ended.ended_s,
            decided_s=ended.offset_s,
            ended_ns=next(arrived, None),
            decided_ns=time_ns(),
        )
