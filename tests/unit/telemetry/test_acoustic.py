"""The end of speech in the audio that was sent: spoken lines at several levels, noise, clicks, breaths, bursts."""

from __future__ import annotations

import array
import random
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.caller import speech
from support.story import events
from support.telling import IDENTITY, MODEL, Recorder, named
from voicespan import VoiceSession
from voicespan import events as ev
from voicespan.acoustic import WINDOW_S, RecentAudio, trailing_silence
from voicespan_server.client import read_wav

RATE = 16_000
LINES = [
    array.array("h", read_wav(path))
    for path in sorted(Path(str(files("voicespan_server") / "demo_audio")).glob("*.wav"))
]


def loudness(samples: Sequence[int]) -> float:
    return sum(map(abs, samples)) / max(1, len(samples))


def spoken_until(line: array.array[int]) -> int:
    """The label: the end of the last 10 ms that have at least 3 % of the last second's loudest."""
    blocks = [loudness(line[i : i + 160]) for i in range(0, len(line) - 160, 160)]
    audible = 0.03 * max(blocks[-100:])
    return 160 * max(i + 1 for i, level in enumerate(blocks) if level >= audible)


def recorded(
    line: array.array[int], *, gain: float = 1.0, noise: float = 0.0, silence_s: float = 1.0
) -> array.array[int]:
    """A line as a microphone would have it, and the background after it."""
    rng = random.Random(7)
    samples = [*line, *([0] * int(silence_s * RATE))]
    noisy = (round(s * gain + (rng.gauss(0, noise) if noise else 0)) for s in samples)
    return array.array("h", (max(-32768, min(32767, s)) for s in noisy))


def found_end(audio: array.array[int], frame: int = 640) -> int | None:
    pcm = audio.tobytes()
    silence = trailing_silence([pcm[i : i + frame * 2] for i in range(0, len(pcm), frame * 2)], RATE)
    return None if silence is None else len(audio) - silence


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
@pytest.mark.parametrize(("gain", "noise"), [(1.0, 0), (1.0, 30), (1.0, 100), (0.3, 0), (0.3, 30)])
@pytest.mark.parametrize("silence_s", [0.4, 2.5])
def test_it_is_found_within_60_ms(line: array.array[int], gain: float, noise: float, silence_s: float) -> None:
    end = found_end(recorded(line, gain=gain, noise=noise, silence_s=silence_s))
    assert end is not None
    assert abs(end - spoken_until(line)) / RATE <= 0.060


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_what_cannot_be_told_from_the_background_is_not_guessed(line: array.array[int]) -> None:
    assert found_end(recorded(line, gain=0.03, noise=100)) is None


def test_silence_noise_and_a_click_are_no_speech() -> None:
    silence = array.array("h", bytes(2 * 2 * RATE))
    assert found_end(silence) is None
    assert found_end(recorded(silence, noise=300)) is None
    click = recorded(silence, noise=10)
    for i in range(RATE, RATE + 320):
        click[i] = 20_000
    assert found_end(click) is None


def test_a_breath_after_the_last_word_is_not_part_of_it() -> None:
    line = recorded(LINES[0], noise=5)
    rng = random.Random(3)
    start = len(LINES[0]) + RATE // 2
    for i in range(start, start + RATE // 5):
        line[i] = round(rng.gauss(0, 90))
    end = found_end(line)
    assert end is not None
    assert abs(end - spoken_until(LINES[0])) / RATE <= 0.060


def test_speech_that_goes_on_to_the_end_of_the_audio_has_no_end_yet() -> None:
    assert found_end(array.array("h", speech(1.0))) is None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 3_000), min_size=1, max_size=400))
def test_how_the_audio_is_cut_into_frames_changes_nothing(sizes: list[int]) -> None:
    audio = recorded(LINES[1], noise=20)
    pcm = audio.tobytes()
    frames: list[bytes] = []
    for size in sizes:
        if len(pcm) > 2 * size:
            frames.append(pcm[: 2 * size])
            pcm = pcm[2 * size :]
    frames.append(pcm)
    assert trailing_silence(frames, RATE) == trailing_silence([audio.tobytes()], RATE)


def test_positions_become_times_by_the_frames_they_were_sent_in() -> None:
    recent = RecentAudio(RATE)
    pcm = speech(1.0) + bytes(2 * RATE)
    sent_ns = 0
    for start in range(0, len(pcm), 1_280):
        sent_ns += 40_000_000
        recent.add(pcm[start : start + 1_280], sent_ns)
    ended = recent.end_of_speech_ns()
    assert ended is not None
    assert abs(ended - 1_000_000_000) < 20_000_000


def test_the_window_is_bounded() -> None:
    recent = RecentAudio(RATE)
    for n in range(10_000):
        recent.add(bytes(640), n)
    assert recent._bytes <= WINDOW_S * RATE * 2


def test_a_turn_counts_from_the_end_of_the_sound() -> None:
    recorder = Recorder()
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer)
    began = session.now_ns()
    pcm = speech(1.0) + bytes(2 * RATE)
    for start in range(0, len(pcm), 1_280):
        session._recent.add(pcm[start : start + 1_280], began + (start // 1_280 + 1) * 40_000_000)
    session._lifecycle.audio_sent()
    decided = began + 2_050_000_000
    session.feed(ev.InputTranscript("hello"), decided - 1)
    session.feed(ev.ActivityEnd("server"), decided)
    session.feed(ev.ModelAudio(0.2), decided + 450_000_000)
    for event, _ in events("GC U TC BYE"):
        session.feed(event, decided + 900_000_000)
    turn = named(recorder.spans(), "Turn 1").attributes
    assert turn["voicespan.turn.start_source"] == "acoustic"
    assert turn["voicespan.turn.start_confidence"] == "measured"
    assert turn["voicespan.latency.endpointing"] == pytest.approx(1.05, abs=0.02)
    assert turn["voicespan.time_to_first_audio"] == pytest.approx(1.5, abs=0.02)


def test_a_turn_whose_books_were_due_is_not_lost_when_the_end_of_speech_is_told_first() -> None:
    recorder = Recorder()
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer)
    began = session.now_ns()
    for event, at in events("cc A GC TC"):  # usage is owed; without a loop nobody ticks
        session.feed(event, began + at)
    pcm = speech(1.0) + bytes(2 * RATE)
    for start in range(0, len(pcm), 1_280):
        session._recent.add(pcm[start : start + 1_280], began + 2_000_000_000 + start // 1_280 * 40_000_000)
    session._lifecycle.audio_sent()
    session.feed(ev.ModelAudio(0.2), began + 5_000_000_000)
    session.feed(ev.SessionClosed(ev.Close(1000)), began + 6_000_000_000)
    assert {span.name for span in recorder.spans()} == {"Turn 1", "Turn 2", "WebSocket Session"}


def test_typed_words_are_not_looked_for_in_the_audio() -> None:
    recorder = Recorder()
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer)
    session.audio_sent(speech(1.0) + bytes(2 * RATE))
    for event, _ in events("cc A GC U TC BYE"):
        session.feed(event)
    assert named(recorder.spans(), "Turn 1").attributes["voicespan.turn.start_source"] == "client_content"
