"""Live sessions in a line of text: the notation in which recordings of the real service are written down.

    cc  client content            I   input transcription       VAS/VAE  voice activity start / end (the service's)
    A   200 ms of audio           a   one sample of audio       T        output transcription    TH  thought
    CALL1, CALL2  tool calls      RESP1 ...  their responses    CANCEL1  taken back
    U, u  usage with the turn's end, alone                      GC  generation complete   TC  turn complete
    INT interrupted               WAIT waiting for input        TC+ turn complete, in progress
    AE  client's activity end     SE  audio stream end          GA  goAway                        CUT connection lost
    ON  dial and connect          BYE the client hangs up       MIC the microphone is open        ..  100 ms pass
Each word takes 10 ms.
"""

from __future__ import annotations

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
    "AE": ev.ActivityEnd("client"),
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
        if word == "..":
            now += 10 * STEP_NS
            yield ev.Tick(), now
        elif word == "ON":
            yield ev.Dialing(), now
            yield ev.Connected(), now
        elif word.startswith("CALL"):
            yield ev.ToolCall(word[4:], "search_nearby", {"query": word}), now
        elif word.startswith("RESP"):
            yield ev.ToolResponse(word[4:], ev.ToolOutcome.OK, {"found": 1}), now
        elif word.startswith("CANCEL"):
            yield ev.ToolCancelled(word[6:]), now
        else:
            yield _EVENTS[word], now


def operations(story: str) -> list[op.Operation]:
    """What the lifecycle makes of a story. `MIC` says that the user's audio is being sent."""
    lifecycle = Lifecycle()
    if "MIC" in story:
        lifecycle.audio_sent()
    return [operation for event, at in events(story) for operation in lifecycle.step(event, at)]


def turns(story: str) -> list[op.TurnRecord]:
    """The turns of a story, in the order in which their books were closed."""
    return [operation.record for operation in operations(story) if isinstance(operation, op.EndTurn)]


def at(story: str, word: str, nth: int = 1) -> int:
    """When the nth `word` of a story happens, in nanoseconds."""
    now = 0
    for found in story.replace("MIC", "").split():
        now += STEP_NS * (11 if found == ".." else 1)
        nth -= found == word
        if nth == 0:
            return now
    raise ValueError(f"{word} is not {nth} more times in {story!r}")
