"""Live sessions in a line of text: the notation in which recordings of the real service are written down.

    cc  client content            I   input transcription       VAS/VAE  voice activity start / end (the service's)
    A   200 ms of audio           a   one sample of audio       T        output transcription    TH  thought
    CALL1, CALL2  tool calls      RESP1 ...  their responses    CANCEL1  taken back
    U, u  usage with the turn's end, alone                      GC  generation complete   TC  turn complete
    INT interrupted               WAIT waiting for input        TC+ turn complete, in progress
    AE  client's activity end     SE  audio stream end          GA  goAway                        CUT connection lost
    ON  dial and connect          BYE the client hangs up       MIC the microphone is open        ..  100 ms pass
    RE  resume by handle          ACS client's activity start   EOS the sound of speech has ended ~   11 s pass
    PLAY1, STOP1 the client plays turn 1, stops after 150 ms    ASYNC1 a call that does not block
    RESP1! interrupts, RESP1_ is silent, RESP1+ is not final    DROP half a second dropped        ODD unreadable
Each word takes 10 ms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from voicespan import events as ev
from voicespan import operations as op
from voicespan.lifecycle import Lifecycle
from voicespan.usage import Usage

STEP_NS = 10_000_000
USAGE = Usage(input_text=100, input_audio=20, output_audio=30, provider_total=150)

_EVENTS: dict[str, ev.Event] = {
    "cc": ev.UserText("typed"),
    "I": ev.InputTranscript("spoken "),
    "VAS": ev.ActivityStart("server"),
    "VAE": ev.ActivityEnd("server"),
    "ACS": ev.ActivityStart("client"),
    "AE": ev.ActivityEnd("client"),
    "EOS": ev.EndOfSpeech(),
    "DROP": ev.InputDropped(0.5),
    "ODD": ev.Unreadable("TypeError"),
    "SE": ev.AudioStreamEnd(),
    "A": ev.ModelAudio(0.2),
    "a": ev.ModelAudio(1 / 24_000),
    "T": ev.OutputTranscript("answer "),
    "TH": ev.Thought(),
    "U": ev.UsageReport(USAGE, completes_turn=True),
    "u": ev.UsageReport(USAGE),
    "GC": ev.GenerationComplete(),
    "TC": ev.TurnComplete(),
    "TC+": ev.TurnComplete(in_progress=True),
    "INT": ev.Interrupted(),
    "WAIT": ev.WaitingForInput(),
    "GA": ev.GoAway(9.5),
    "CUT": ev.Disconnected(ev.Close(1006, "connection lost")),
    "BYE": ev.SessionClosed(ev.Close(1000, "bye", "client")),
}


def events(story: str) -> Iterator[tuple[ev.Event, int]]:
    """The events of a story with their times, in nanoseconds from zero."""
    now = 0
    for word in story.split():
        if word == "MIC":
            continue
        now += STEP_NS
        if word in {"..", "~"}:
            now += (10 if word == ".." else 1100) * STEP_NS
            yield ev.Tick(), now
        elif word in {"ON", "RE"}:
            yield ev.Dialing(resumed=word == "RE"), now
            yield ev.Connected(), now
        elif found := re.fullmatch(r"(CALL|ASYNC|RESP|CANCEL|PLAY|STOP)(\d)(\D?)", word):
            yield _numbered(found[1], found[2], found[3]), now
        else:
            yield _EVENTS[word], now


def _numbered(kind: str, number: str, mark: str) -> ev.Event:
    match kind:
        case "CALL" | "ASYNC":
            return ev.ToolCall(number, "search_nearby", {"query": kind + number}, blocking=kind == "CALL")
        case "RESP":
            schedulings: dict[str, ev.Scheduling] = {"!": "interrupt", "_": "silent"}
            return ev.ToolResponse(
                number, ev.ToolOutcome.OK, {"found": 1}, scheduling=schedulings.get(mark), final=mark != "+"
            )
        case "CANCEL":
            return ev.ToolCancelled(number)
        case "PLAY":
            return ev.PlaybackStarted(int(number))
        case _:
            return ev.PlaybackStopped(int(number), 0.15)


def operations(story: str) -> list[op.Operation]:
    """What the lifecycle makes of a story. `MIC` says that the user's audio is being sent."""
    lifecycle = Lifecycle()
    if "MIC" in story:
        lifecycle.audio_since_turn = True
    return [operation for event, at in events(story) for operation in lifecycle.step(event, at)]


def turns(story: str) -> list[op.TurnRecord]:
    """The turns of a story, in the order in which their books were closed."""
    return [operation.record for operation in operations(story) if isinstance(operation, op.EndTurn)]


def at(story: str, word: str, nth: int = 1) -> int:
    """When the nth `word` of a story happens, in nanoseconds."""
    now = 0
    for found in story.replace("MIC", "").split():
        now += STEP_NS * {"..": 11, "~": 1101}.get(found, 1)
        nth -= found == word
        if nth == 0:
            return now
    raise ValueError(f"{word} is not {nth} more times in {story!r}")
