"""The sound of turns: which part of what passed is kept, how it is bounded, and where it shows."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import wave
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from support.received import ReceivedSpan
from support.simulated_call import silence, tone
from support.telling import MODEL, ClockedSession, Recorder, named
from voicespan import Capture, Close, TraceShape
from voicespan import events as ev
from voicespan.recording import MAX_S, Kept, TurnSound

SECOND = 1_000_000_000
RATE = 24_000
FRAME_S = 0.1


@dataclass
class Shelf:
    """Recordings that stay in memory; they are kept at once, or when `release` is called."""

    at_once: bool = True
    sounds: list[TurnSound] = field(default_factory=list)
    waiting: list[Future[Sequence[Kept]]] = field(default_factory=list)

    def keep(self, sound: TurnSound) -> Future[Sequence[Kept]]:
        self.sounds.append(sound)
        future: Future[Sequence[Kept]] = Future()
        self.waiting.append(future)
        if self.at_once:
            self.release()
        return future

    def release(self) -> None:
        for future, sound in zip(self.waiting, self.sounds, strict=True):
            if not future.done():
                future.set_result([Kept(clip.side, f"TOKEN-{clip.side}", 1.0, cut=False) for clip in sound.clips])

    def read(self, side: str, turn: int = 0) -> tuple[int, bytes, bool]:
        """A clip's rate, samples, and whether it is cut."""
        [clip] = [clip for clip in self.sounds[turn].clips if clip.side == side]
        content, cut = clip.wav()
        with wave.open(io.BytesIO(content)) as file:
            assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
            return file.getframerate(), file.readframes(file.getnframes()), cut


class Told:
    """A session whose clock is the audio that the user sends."""

    def __init__(self, shelf: Shelf | None = None, **more: Any) -> None:
        self.shelf = shelf or Shelf()
        self.recorder = Recorder()
        more = {"capture": Capture(on_spans=True), "tracer": self.recorder.tracer, **more}
        self.session = ClockedSession(self.recorder.identity, MODEL, recordings=self.shelf, **more)

    @property
    def now(self) -> int:
        return self.session.now_ns()

    def hears(self, pcm: bytes, rate_hz: int = 16_000) -> None:
        size = round(FRAME_S * rate_hz) * 2
        for start in range(0, len(pcm), size):
            self.session.pass_s(FRAME_S)
            self.session.audio_sent(pcm[start : start + size], self.now)

    def feed(self, *events: ev.Event) -> None:
        for event in events:
            self.session.feed(event, self.now)

    def answers(self, *chunks: bytes) -> None:
        self.feed(*(ev.ModelAudio(len(pcm) / 2 / RATE, pcm=pcm, rate_hz=RATE) for pcm in chunks))

    def ends(self) -> None:
        self.feed(ev.GenerationComplete(), ev.TurnComplete())
        self.session.pass_s(1)
        self.feed(ev.Tick())

    def asks(self, words: str = "where is it?") -> None:
        """Half a second of speech, which the service notices, transcribes and takes for finished a second later."""
        self.feed(ev.ActivityStart("server"))
        self.hears(tone(0.5))
        self.feed(ev.InputTranscript(words))
        self.hears(silence(1.0))
        self.feed(ev.ActivityEnd("server"))

    def spans(self) -> list[ReceivedSpan]:
        return self.recorder.spans()

    def messages(self, name: str, side: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            str(named(self.spans(), name).attributes[f"langfuse.observation.{side}"])
        )
        return found


ANSWER = tone(1.0, RATE)


def test_a_turn_carries_the_users_speech_and_the_answer() -> None:
    told = Told()
    told.hears(silence(5.0))
    told.asks()
    told.answers(ANSWER[:20_000], ANSWER[20_000:])
    told.feed(ev.OutputTranscript("there"))
    told.ends()
    rate, said, cut = told.shelf.read("input")
    # From half a second ahead of it, up to the decision.
    assert (rate, cut, said) == (16_000, False, silence(0.5) + tone(0.5) + silence(1.0))
    assert told.shelf.read("output") == (RATE, ANSWER, False)
    assert told.messages("Turn 1", "input")[-1] == {
        "role": "user",
        "content": [
            {"type": "text", "text": "where is it?"},
            {"type": "input_audio", "input_audio": {"data": "TOKEN-input"}},
        ],
    }
    assert told.messages("Turn 1", "output") == [
        {"role": "assistant", "content": "there", "audio": {"data": "TOKEN-output", "transcript": "there"}}
    ]
    turn = named(told.spans(), "Turn 1")
    assert (told.shelf.sounds[0].trace_id, told.shelf.sounds[0].span_id) == (turn.trace_id, turn.span_id)
    assert told.shelf.sounds[0].session_id == "session-1"
    found = {key: value for key, value in turn.attributes.items() if key.startswith("voicespan.recording.")}
    assert found == {
        "voicespan.recording.input_duration": 1.0,
        "voicespan.recording.output_duration": 1.0,
        "voicespan.recording.cut": False,
    }


def test_tokens_are_langfuses_alone() -> None:
    told = Told()
    told.asks()
    told.answers(ANSWER)
    told.ends()
    for span in told.spans():
        others = {k: v for k, v in span.attributes.items() if not k.startswith("langfuse.observation.")}
        assert "TOKEN" not in str(others)


def test_a_side_without_words_has_a_message_for_its_sound() -> None:
    told = Told()
    told.feed(ev.ActivityStart("client"))
    told.hears(tone(0.5))
    told.feed(ev.ActivityEnd("client"))
    told.answers(ANSWER)
    told.ends()
    assert told.messages("Turn 1", "input") == [
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "TOKEN-input"}}]}
    ]
    assert told.messages("Turn 1", "output") == [
        {"role": "assistant", "content": "", "audio": {"data": "TOKEN-output", "transcript": ""}}
    ]


def test_what_was_said_earlier_keeps_its_words_and_has_no_second_player() -> None:
    told = Told()
    for _ in range(2):
        told.asks()
        told.answers(ANSWER)
        told.feed(ev.OutputTranscript("there"))
        told.ends()
    told.session.close(Close(1000, "bye", "client"))
    assert str(told.messages("Turn 2", "input")).count("TOKEN") == 1
    assert "TOKEN" not in str(told.messages("WebSocket Session", "input"))


def test_where_nobody_says_when_speech_begins_it_is_found_in_the_sound() -> None:
    told = Told()
    told.hears(tone(1.0) + silence(10.0) + tone(0.5) + silence(1.0) + tone(0.5) + silence(1.0))
    told.feed(ev.InputTranscript("a pause, no end"))
    told.answers(ANSWER)
    told.ends()
    _, said, cut = told.shelf.read("input")
    assert len(said) - len(said.lstrip(b"\0")) == pytest.approx(len(silence(0.5)), abs=len(silence(0.02)))
    assert len(said) == pytest.approx(len(silence(0.5 + 0.5 + 1.0 + 0.5 + 0.3)), abs=len(silence(0.1)))
    assert not cut, "only silence was left out"


def test_a_detector_that_is_late_costs_no_word() -> None:
    told = Told()
    told.hears(silence(5.0) + tone(1.0))
    told.feed(ev.ActivityStart("server"))
    told.hears(tone(0.5) + silence(3.0) + tone(0.5))
    told.feed(ev.InputTranscript("a long pause inside"), ev.ActivityEnd("server"))
    told.answers(ANSWER)
    told.ends()
    _, said, _ = told.shelf.read("input")
    assert said.startswith(silence(0.5) + tone(1.0))
    assert len(said) == len(silence(0.5 + 1.0 + 0.5 + 3.0 + 0.5))


def test_what_is_said_over_an_answer_is_the_next_turns() -> None:
    told = Told()
    told.asks("first")
    told.answers(ANSWER, ANSWER)
    told.feed(ev.ActivityStart("server"))
    told.hears(tone(0.7))
    told.feed(ev.Interrupted(), ev.TurnComplete(), ev.InputTranscript("second"))
    told.hears(silence(1.0))
    told.feed(ev.ActivityEnd("server"))
    told.answers(ANSWER)
    told.ends()
    assert tone(0.7) not in told.shelf.read("input", 0)[1]
    assert tone(0.7) in told.shelf.read("input", 1)[1]


def test_an_interrupted_answer_is_cut_at_what_was_heard() -> None:
    told = Told()
    told.asks()
    told.answers(ANSWER, ANSWER, ANSWER)
    told.feed(ev.PlaybackStarted(1), ev.ActivityStart("server"), ev.Interrupted(), ev.PlaybackStopped(1, 0.25))
    told.feed(ev.TurnComplete())
    told.ends()
    assert named(told.spans(), "Turn 1").attributes["voicespan.audio.heard_duration"] == 0.25
    assert told.shelf.read("output")[1] == ANSWER[: round(0.25 * RATE) * 2]


def test_an_answer_of_which_nothing_was_heard_has_no_sound() -> None:
    told = Told()
    told.asks()
    told.answers(ANSWER)
    told.feed(ev.Interrupted(), ev.TurnComplete())
    told.ends()
    assert [clip.side for clip in told.shelf.sounds[0].clips] == ["input"]


def test_typed_words_have_no_sound_though_the_microphone_is_open() -> None:
    told = Told()
    told.hears(tone(2.0))
    told.feed(ev.UserText("hello"))
    told.answers(ANSWER)
    told.ends()
    assert [clip.side for clip in told.shelf.sounds[0].clips] == ["output"]
    assert told.messages("Turn 1", "input")[-1] == {"role": "user", "content": "hello"}


def test_each_side_is_bounded_and_says_so() -> None:
    told = Told()
    told.feed(ev.ActivityStart("client"))
    told.hears(tone(MAX_S + 5.0))
    told.feed(ev.ActivityEnd("client"))
    told.answers(*[ANSWER] * (round(MAX_S) + 7))
    told.ends()
    assert [(len(pcm) / 2 / rate, cut) for rate, pcm, cut in map(told.shelf.read, ("input", "output"))] == [
        (MAX_S, True),
        (MAX_S, True),
    ]


def test_what_was_heard_of_a_long_answer_is_counted_from_its_beginning() -> None:
    told = Told()
    told.asks()
    told.answers(*[ANSWER] * (round(MAX_S) + 7))
    told.feed(ev.PlaybackStarted(1), ev.ActivityStart("server"), ev.Interrupted(), ev.PlaybackStopped(1, 10.0))
    told.feed(ev.TurnComplete())
    told.ends()
    assert len(told.shelf.read("output")[1]) / 2 / RATE == 3.0, "the first seven of ten seconds were dropped"


def test_audio_of_another_rate_begins_anew() -> None:
    told = Told()
    told.hears(tone(1.0))
    told.session.input_rate(8_000)
    told.feed(ev.ActivityStart("client"))
    told.hears(tone(0.5, 8_000), 8_000)
    told.feed(ev.ActivityEnd("client"))
    told.answers(ANSWER)
    told.ends()
    assert told.shelf.read("input") == (8_000, tone(0.5, 8_000), False)


@pytest.mark.parametrize("capture", [Capture(), Capture(on_events=True)])
def test_without_content_on_spans_nothing_is_recorded(capture: Capture) -> None:
    told = Told(capture=capture)
    told.asks()
    told.answers(ANSWER)
    told.ends()
    assert told.shelf.sounds == []
    assert not any("recording" in key for span in told.spans() for key in span.attributes)


def test_a_session_that_is_not_sampled_is_not_recorded() -> None:
    told = Told(tracer=TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("voicespan"))
    told.asks()
    told.answers(ANSWER)
    told.ends()
    assert told.shelf.sounds == []


def test_with_spans_for_generations_the_players_are_on_the_turn() -> None:
    told = Told(shape=TraceShape(generation_spans=True))
    told.asks()
    told.answers(ANSWER)
    told.ends()
    assert "TOKEN-output" in str(told.messages("Turn 1", "output"))
    part = named(told.spans(), "realtime_inference gemini-3.8-live")
    assert "TOKEN" not in str(part.attributes)


async def test_a_turns_span_waits_for_its_sound_and_the_call_does_not() -> None:
    told = Told(Shelf(at_once=False))
    told.asks()
    told.answers(ANSWER)
    told.ends()
    assert "Turn 1" not in [span.name for span in told.spans()]
    assert told.session.totals.turns == 1, "the session goes on"
    thread = threading.Thread(target=told.shelf.release)
    thread.start()
    await asyncio.to_thread(thread.join)
    await asyncio.sleep(0)  # the thread has asked the loop to go on
    assert "TOKEN-input" in str(told.messages("Turn 1", "input"))
    told.session.close(Close(1000, "bye", "client"))
    assert [span.name for span in told.spans()].count("Turn 1") == 1


async def test_the_end_of_a_session_waits_for_no_sound_and_loses_none() -> None:
    told = Told(Shelf(at_once=False))
    told.asks()
    told.answers(ANSWER)
    told.session.close(Close(1000, "bye", "client"))
    assert [span.name for span in told.spans()] == ["WebSocket Session"]
    told.shelf.release()  # without the loop, which need not run any more
    turn, session = named(told.spans(), "Turn 1"), named(told.spans(), "WebSocket Session")
    assert "TOKEN-input" in str(told.messages("Turn 1", "input"))
    assert (turn.parent_span_id, turn.end_ns) == (session.span_id, session.end_ns)
    await asyncio.sleep(0)
    assert len(told.spans()) == 2, "the loop finds nothing left to do"


def test_a_loop_that_is_closed_costs_no_turn() -> None:
    told = Told(Shelf(at_once=False))

    async def call() -> None:
        told.asks()
        told.answers(ANSWER)
        told.ends()

    asyncio.run(call())
    told.shelf.release()
    assert "TOKEN-output" in str(told.messages("Turn 1", "output"))


def test_recordings_that_fail_cost_a_turn_its_sound_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Shelf):
        def keep(self, sound: TurnSound) -> Future[Sequence[Kept]]:
            raise OSError("no thread")

    monkeypatch.setenv("VOICESPAN_RAISE", "0")
    told = Told(Broken())
    told.asks()
    told.answers(ANSWER)
    told.ends()
    assert told.messages("Turn 1", "input")[-1] == {"role": "user", "content": "where is it?"}
