"""Scenarios: who says what and what goes wrong. Their files are described in docs/simulator.md."""

from dataclasses import dataclass, replace
from typing import Literal

from voicespan_simulator.wire_json import JsonObject

Cancellation = Literal["before_answer", "after_answer"]
Hold = Literal["start", "first_audio", "generation", "playback"]
# What comes where an answer was due: waitingForInput, a turnComplete with nothing in it, nothing, or nothing at all,
# not even a word of what was heard.
Instead = Literal["waiting", "empty", "mute", "deaf"]
UsageReports = Literal["missing", "late", "audio_uncounted"]
Transcripts = Literal["late", "after_turn"]
Resumption = Literal["refused", "unavailable", "dead"]
# What comes where the setup's answer was due: nothing ever, or an error.
Setup = Literal["mute", "error"]


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A function that the model calls; with `cancel` it takes the call back, before or after it was answered.

    `unnamed`: the call comes without an id.
    """

    name: str
    args: JsonObject
    cancel: Cancellation | None = None
    unnamed: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says; without a clip the voice is a generic one of fitting length. `audio` False: words only.

    `heard` is the share of the audio that comes, though all the words do. `whole`: it comes in one message.
    """

    text: str
    clip: str | None = None
    audio: bool = True
    heard: float = 1.0
    whole: bool = False


@dataclass(frozen=True, slots=True)
class GoAway:
    """The service announces the end and closes: after the turn, or earlier.

    Earlier is in mid-answer after so many audio messages, or `in_tools`: when the calls were sent, before any is
    answered. `resumed` is what becomes of the next connection that presents a handle: its handle is `refused`, or it
    is `dead`, which is to say that it is accepted and says nothing ever, or the service is `unavailable`, once.
    """

    time_left_s: float
    after_audio_messages: int | None = None
    code: int = 1011
    reason: str = "Deadline expired before operation could complete."
    in_tools: bool = False
    resumed: Resumption | None = None


@dataclass(frozen=True, slots=True)
class Close:
    """The service closes without a word."""

    code: int
    reason: str
    after_audio_messages: int | None = None
    in_tools: bool = False
    resumed: Resumption | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """The TCP connection is gone, without a close frame."""

    after_audio_messages: int | None = None
    in_tools: bool = False
    resumed: Resumption | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """The service says nothing more of the answer, and keeps the connection."""

    after_audio_messages: int
    in_tools: bool = False
    resumed: Resumption | None = None


Ending = GoAway | Close | Loss | Stop


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange, in the order in which it is played: filler, calls, meanwhile, answer (or what comes instead).

    `hold` is where it waits at fast pace for the user to interrupt it, else nobody could. `typed`: it is for typed
    words, not for speech. `filler` is said and closed as IN_PROGRESS. `meanwhile` is said while the tools run: they
    do not block, and the answer is a turn of its own. `complete_reason` goes on turnComplete. `strange`: a message of
    a kind that no client knows comes first. `interrupted_late`: who speaks next is taken to interrupt it, though it
    is complete. `withholds_handle`: there is none while it lasts, and that is told. `quiet_tools`: audio that comes
    while its tools run ends the connection.
    """

    said: str
    answer: Answer | None = None
    calls: tuple[FunctionCall, ...] = ()
    hold: Hold | None = None
    ending: Ending | None = None
    typed: bool = False
    filler: Answer | None = None
    meanwhile: Answer | None = None
    instead: Instead | None = None
    usage: UsageReports | None = None
    transcripts: Transcripts | None = None
    complete_reason: str | None = None
    strange: bool = False
    interrupted_late: bool = False
    withholds_handle: bool = False
    quiet_tools: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """The upgrade is answered with an HTTP status."""

    status: int
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """The turns of a call; each utterance of the user takes the next. A `greeting` comes before all of them.

    With a `refusal` or a `setup` no call ever begins. `pongs` False: the service answers no ping.
    """

    name: str
    description: str
    turns: tuple[Turn, ...]
    greeting: Answer | None = None
    refusal: Refusal | None = None
    setup: Setup | None = None
    pongs: bool = True

    @property
    def begins(self) -> bool:
        """Whether a call can be held."""
        return self.refusal is None and self.setup is None

    def turn(self, index: int) -> Turn:
        """The turn at an index; behind the end the last one again, without what ended or interrupted it."""
        if index < len(self.turns):
            return self.turns[index]
        return replace(self.turns[-1], hold=None, ending=None)
