"""The sound of a session's turns, for programs that ask for it: what the user said, and what was heard of the answer.

While a call goes on its audio is kept by reference only, within a bound. When a turn ends, what of it belongs to the
turn is given to `Recordings`, which makes files of it off the event loop; the turn's span waits for their tokens.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol

from voicespan import events as ev
from voicespan.guard import guarded
from voicespan.operations import TurnRecord
from voicespan.wav import utterance_start, wav

Side = Literal["input", "output"]

# Kept of each side of a turn, the newest.
MAX_S = 60.0
# Sound before the user's speech, and after its end: a word's first and last consonants are quiet.
LEAD_S = 0.5
TAIL_S = 0.3
# A detector notices speech late, and its word takes a while to come: speech may have begun so much earlier.
NOTICED_WITHIN_S = 2.0
_SAMPLE_BYTES = 2


@dataclass(frozen=True, slots=True)
class Clip:
    """One side of a turn, 16-bit little-endian mono, in the pieces in which it passed.

    `noticed_bytes` is where somebody noticed that the user speaks: from that utterance on it is kept, and from the last
    one where nobody did. `until_bytes` is where the clip ends, if before the end of the pieces. `cut`: it was longer,
    and its oldest part was dropped.
    """

    side: Side
    pieces: Sequence[bytes]
    rate_hz: int
    noticed_bytes: int | None = None
    until_bytes: int | None = None
    cut: bool = False

    @property
    def size_bytes(self) -> int:
        """Of all pieces."""
        return sum(map(len, self.pieces))

    def wav(self) -> tuple[bytes, bool]:
        """A WAV file, and whether its oldest part is missing. Joins and searches: milliseconds for a long one."""
        pcm = b"".join(self.pieces)[: self.until_bytes]
        start = 0
        if self.side == "input":
            start = utterance_start(pcm, self.rate_hz, LEAD_S, self.noticed_bytes)
        return wav(pcm[start:], self.rate_hz), self.cut and start == 0


@dataclass(frozen=True, slots=True)
class TurnSound:
    """What was heard in a turn, and whose it is. Ids are hex."""

    clips: tuple[Clip, ...]
    trace_id: str
    span_id: str
    session_id: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A clip that is kept. `token` is what stands for it in a message; `cut`: its oldest part is missing."""

    side: Side
    token: str
    duration_s: float
    cut: bool


class Recordings(Protocol):
    """Where the sound of turns is kept."""

    def keep(self, sound: TurnSound) -> Future[Sequence[Kept]]:
        """Take a turn's sound; never waits. What could not be kept is not in the result."""
        ...


class Microphone:
    """The user's audio since the turn before, the newest `MAX_S` seconds."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._max_bytes = round(MAX_S * rate_hz) * _SAMPLE_BYTES
        self._frames: deque[tuple[int, bytes]] = deque()  # when it was sent, which is when its last sample was spoken
        self._bytes = 0
        self._dropped = False
        self._began_ns: int | None = None

    def add(self, pcm: bytes, sent_ns: int) -> None:
        """A frame was sent."""
        self._frames.append((sent_ns, pcm))
        self._bytes += len(pcm)
        while self._bytes > self._max_bytes:
            self._bytes -= len(self._frames.popleft()[1])
            self._dropped = True

    def speech_began(self, at_ns: int) -> None:
        """Somebody noticed that the user speaks; the first time counts."""
        if self._began_ns is None:
            self._began_ns = at_ns

    def take(self, end_ns: int) -> Clip:
        """What was said up to `end_ns`, and a little after. What came later stays, for the next turn."""
        frames = list(self._frames)
        sent_ns = [at_ns for at_ns, _ in frames]
        pieces = [pcm for _, pcm in frames]
        end = bisect_right(sent_ns, end_ns)
        start, noticed = 0, None
        if self._began_ns is not None and self._began_ns <= end_ns:
            began = bisect_right(sent_ns, self._began_ns)
            start = self._back(pieces, began, NOTICED_WITHIN_S)
            noticed = sum(map(len, pieces[start:began]))
            self._began_ns = None
        clip = Clip(
            "input",
            pieces[start : self._on(pieces, end, TAIL_S)] if end else (),
            self._rate_hz,
            noticed,
            cut=self._dropped and start == 0,
        )
        self._frames = deque(frames[end:])
        self._bytes = sum(map(len, pieces[end:]))
        self._dropped = False
        return clip

    def _back(self, pieces: Sequence[bytes], at: int, seconds: float) -> int:
        left = seconds * self._rate_hz * _SAMPLE_BYTES
        while at > 0 and left > 0:
            at -= 1
            left -= len(pieces[at])
        return at

    def _on(self, pieces: Sequence[bytes], at: int, seconds: float) -> int:
        left = seconds * self._rate_hz * _SAMPLE_BYTES
        while at < len(pieces) and left > 0:
            left -= len(pieces[at])
            at += 1
        return at


@dataclass(slots=True)
class Answer:
    """The model's audio of one turn, the newest `MAX_S` seconds."""

    rate_hz: int
    pieces: deque[bytes] = field(default_factory=deque)
    kept_bytes: int = 0
    dropped_bytes: int = 0

    def add(self, pcm: bytes) -> None:
        """A chunk came."""
        self.pieces.append(pcm)
        self.kept_bytes += len(pcm)
        while self.kept_bytes > MAX_S * self.rate_hz * _SAMPLE_BYTES:
            dropped = len(self.pieces.popleft())
            self.kept_bytes -= dropped
            self.dropped_bytes += dropped

    def clip(self, heard_s: float | None) -> Clip | None:
        """What was heard of it, all where `heard_s` is None; None where that was nothing, or was dropped."""
        until = None
        if heard_s is not None:
            until = round(heard_s * self.rate_hz) * _SAMPLE_BYTES - self.dropped_bytes
        if (until is not None and until <= 0) or not self.kept_bytes:
            return None
        cut = self.dropped_bytes > 0
        return Clip("output", tuple(self.pieces), self.rate_hz, until_bytes=until, cut=cut)


Then = Callable[[Sequence[Kept]], None]


class Recorder:
    """One session's recordings. It belongs to the session's event loop; without one, it waits for what it asks for."""

    def __init__(self, recordings: Recordings, session_id: str, input_rate_hz: int) -> None:
        self._recordings = recordings
        self._session_id = session_id
        self._microphone = Microphone(input_rate_hz)
        self._said: dict[int, Clip] = {}
        self._answers: dict[int, Answer] = {}
        self._waiting: dict[int, tuple[Future[Sequence[Kept]], Then]] = {}

    def input_rate(self, rate_hz: int) -> None:
        """The user's audio has another rate from here on. What was kept cannot stand in one file with it."""
        self._microphone = Microphone(rate_hz)

    def audio_sent(self, pcm: bytes, at_ns: int) -> None:
        """A frame of the user's audio."""
        self._microphone.add(pcm, at_ns)

    @guarded(default=None)
    def happened(self, event: ev.Event, at_ns: int, turn: int | None) -> None:
        """An event that the lifecycle has taken; `turn` is the one whose answer is being received since."""
        match event:
            case ev.ModelAudio(pcm=pcm, rate_hz=rate_hz) if pcm and turn is not None:
                answer = self._answers.get(turn)
                if answer is None or answer.rate_hz != rate_hz:
                    answer = self._answers[turn] = Answer(rate_hz)
                answer.add(pcm)
            case ev.ActivityStart():
                self._microphone.speech_began(at_ns)

    @guarded(default=None)
    def turn_began(self, index: int, at_ns: int) -> None:
        """A turn answers what was said until `at_ns`."""
        self._said[index] = self._microphone.take(at_ns)

    @guarded(default=False)
    def turn_ended(self, record: TurnRecord, trace_id: str, span_id: str, then: Then) -> bool:
        """A turn was told. True where it has sound: then `then` is called once, with what was kept.

        It is called on the session's event loop, and after `finish` wherever the sound was kept.
        """
        said = self._said.pop(record.index, None)
        answer = self._answers.pop(record.index, None)
        heard = answer.clip(record.heard.duration_s if record.heard else None) if answer else None
        spoken = said if said and said.pieces and record.spoken_input else None
        clips = tuple(clip for clip in (spoken, heard) if clip)
        if not clips:
            return False
        kept = self._recordings.keep(TurnSound(clips, trace_id, span_id, self._session_id))
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            then(kept.result())
            return True
        self._waiting[record.index] = (kept, then)
        kept.add_done_callback(partial(self._finish_on, loop, record.index))
        return True

    def finish(self) -> None:
        """The session's span has ended. Its last turns' need not wait for the loop, which may be about to end too."""
        for index, (kept, _) in tuple(self._waiting.items()):
            kept.add_done_callback(partial(self._finish, index))

    def _finish_on(self, loop: asyncio.AbstractEventLoop, index: int, kept: Future[Sequence[Kept]]) -> None:
        try:
            loop.call_soon_threadsafe(self._finish, index, kept)
        except RuntimeError:  # it is closed, and nobody ended the session
            self._finish(index, kept)

    @guarded(default=None)
    def _finish(self, index: int, kept: Future[Sequence[Kept]]) -> None:
        if waiting := self._waiting.pop(index, None):  # the loop and the thread may both come
            waiting[1](kept.result())
