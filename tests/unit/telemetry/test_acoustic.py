"""The end of speech in the audio that was sent: spoken lines at several levels, noise, hum, clicks, breaths, bursts.

The labelled set with its many voices and backgrounds is in benchmarks/acoustic; this is what needs no synthesiser.
"""

from __future__ import annotations

import array
import math
import random
import sys
import tracemalloc
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
from voicespan.recent_audio import BLOCK_S, BLOCKS, WHOLE_S, WINDOW_S, RecentAudio
from voicespan_server.client import read_wav

RATE = 16_000
LINES = [
    array.array("h", read_wav(path))
    for path in sorted(Path(str(files("voicespan_server") / "demo_audio")).glob("*.wav"))
]
RNG = random.Random(7)
NOISE = [RNG.gauss(0, 1) for _ in range(6 * RATE)]
BREATH = [90 * n for n in NOISE[: RATE // 5]]
CLICK = [20_000 * (-1) ** n for n in range(160)]


def loudness(samples: Sequence[float]) -> float:
    return sum(map(abs, samples)) / len(samples)


def spoken_until(line: array.array[int]) -> int:
    """The label: the end of the last 10 ms that have at least 3 % of the last second's loudest."""
    blocks = [loudness(line[i : i + 160]) for i in range(0, len(line) - 160, 160)]
    audible = 0.03 * max(blocks[-100:])
    return 160 * max(i + 1 for i, level in enumerate(blocks) if level >= audible)


def heard(
    line: Sequence[float], *, gain: float = 1.0, noise: float = 0.0, silence_s: float = 1.0, hum: float = 0.0
) -> list[float]:
    """A line as a microphone would have it, and the background after it."""
    samples = [*line, *([0] * int(silence_s * RATE))]
    mains = [hum * math.sin(math.tau * 50 * n / RATE) for n in range(320)]
    return [s * gain + n * noise + mains[i % 320] for i, (s, n) in enumerate(zip(samples, NOISE, strict=False))]


def with_sound(audio: list[float], sound: Sequence[float], at: int) -> list[float]:
    return [*audio[:at], *(a + b for a, b in zip(audio[at:], sound, strict=False)), *audio[at + len(sound) :]]


def pcm16(audio: Sequence[float]) -> bytes:
    return array.array("h", map(round, audio)).tobytes()


def sent(pcm: bytes, frames: Sequence[int] | int = 640, rate: int = RATE) -> RecentAudio:
    """Audio in frames of so many samples, the last of them over and over, each sent when its last sample was spoken."""
    sizes = [frames] if isinstance(frames, int) else list(frames)
    recent, start = RecentAudio(rate), 0
    while start < len(pcm):
        frame = pcm[start : start + 2 * (sizes.pop(0) if len(sizes) > 1 else sizes[0])]
        start += len(frame)
        recent.add(frame, start // 2 * 1_000_000_000 // rate)
    return recent


def error_s(audio: Sequence[float], line: array.array[int]) -> float:
    """Of the end that was found; a failure where none was."""
    ended_ns = sent(pcm16(audio)).end_of_speech_ns()
    assert ended_ns is not None
    return ended_ns / 1e9 - spoken_until(line) / RATE


def nothing_found_in(audio: Sequence[float]) -> bool:
    return sent(pcm16(audio)).end_of_speech_ns() is None


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
@pytest.mark.parametrize(("gain", "noise"), [(1.0, 0), (1.0, 100), (0.1, 10), (0.05, 0)])
def test_it_is_found_within_60_ms(line: array.array[int], gain: float, noise: float) -> None:
    assert abs(error_s(heard(line, gain=gain, noise=noise), line)) <= 0.060


@pytest.mark.parametrize("silence_s", [0.4, 3.0])
def test_it_is_found_whether_the_answer_is_quick_or_slow(silence_s: float) -> None:
    for line in LINES[:2]:
        assert abs(error_s(heard(line, noise=30, silence_s=silence_s), line)) <= 0.060


def test_mains_hum_as_loud_as_the_voice_does_not_hide_it() -> None:
    hum = loudness(LINES[0])
    assert abs(error_s(heard(LINES[0], hum=hum), LINES[0])) <= 0.060


def test_a_breath_or_a_click_after_the_last_word_is_not_part_of_it() -> None:
    for sound in (BREATH, CLICK):
        for after_s in (0.25, 0.5):
            audio = with_sound(heard(LINES[0], noise=5), sound, len(LINES[0]) + int(after_s * RATE))
            assert abs(error_s(audio, LINES[0])) <= 0.060


def test_a_last_sound_that_is_high_alone_is_part_of_the_word() -> None:
    hiss = [600 * math.sin(math.tau * 7_900 * n / RATE) for n in range(RATE // 10)]
    audio = with_sound(heard(LINES[0], noise=5), hiss, spoken_until(LINES[0]) + RATE // 25)
    assert error_s(audio, LINES[0]) == pytest.approx(0.140, abs=0.030)


def test_speech_before_a_background_that_comes_and_goes_as_loud_is_not_guessed() -> None:
    line = LINES[0]
    bursts = [n * (3_000 if at // 4_000 % 2 else 300) for at, n in enumerate(NOISE)]
    audio = with_sound(heard(line, gain=0.3, silence_s=3.0), bursts, 0)
    assert nothing_found_in(audio)


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_what_cannot_be_told_from_the_background_is_not_guessed(line: array.array[int]) -> None:
    assert nothing_found_in(heard(line, gain=0.03, noise=100))


def test_silence_noise_and_a_click_are_no_speech() -> None:
    silence = [0.0] * (2 * RATE)
    assert nothing_found_in(silence)
    assert nothing_found_in(heard(silence, noise=300))
    assert nothing_found_in(heard(silence, hum=3_000))
    assert nothing_found_in(with_sound(heard(silence, noise=10), CLICK, RATE))


def test_speech_that_goes_on_to_the_end_of_the_audio_has_no_end_yet() -> None:
    assert nothing_found_in(LINES[0][: 2 * RATE])
    assert sent(speech(1.0)).end_of_speech_ns() is None


def test_no_audio_and_a_little_of_it_have_no_end() -> None:
    recent = RecentAudio(RATE)
    assert recent.end_of_speech_ns() is None
    recent.add(speech(0.1), 1)
    assert recent.end_of_speech_ns() is None


def test_what_was_searched_is_not_found_again() -> None:
    recent = sent(pcm16(heard(LINES[0])))
    assert recent.end_of_speech_ns() is not None
    recent.clear()
    recent.add(bytes(2 * 2 * RATE), 10_000_000_000)
    assert recent.end_of_speech_ns() is None


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(1, 3_000), min_size=1, max_size=400))
def test_how_the_audio_is_cut_into_frames_changes_nothing(frames: list[int]) -> None:
    pcm = pcm16(heard(LINES[1][-RATE:], noise=20))
    assert sent(pcm, frames).end_of_speech_ns() == pytest.approx(sent(pcm).end_of_speech_ns(), abs=1_000)


@settings(max_examples=5, deadline=None)
@given(st.floats(0.05, 1.0))
def test_how_loud_it_is_changes_nothing(gain: float) -> None:
    line = LINES[1][-RATE:]
    full, scaled = (sent(pcm16(heard(line, gain=g, noise=20 * g))).end_of_speech_ns() for g in (1.0, gain))
    assert full is not None
    assert scaled == pytest.approx(full, abs=20_000_000)  # one block: samples are rounded


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 48_000])
def test_any_rate_will_do(rate: int) -> None:
    tone = pcm16([12_000 * math.sin(math.tau * 220 * n / rate) for n in range(rate)])
    ended_ns = sent(tone + bytes(2 * rate), frames=rate // 50, rate=rate).end_of_speech_ns()
    assert ended_ns == pytest.approx(1_000_000_000, abs=30_000_000)


def test_audio_that_is_sent_in_a_burst_was_not_spoken_before_the_frame_ahead_of_it_was_sent() -> None:
    recent = RecentAudio(RATE)
    recent.add(bytes(2 * RATE), 5_000_000_000)
    recent.add(speech(1.0) + bytes(2 * RATE), 5_000_000_001)
    assert recent.end_of_speech_ns() == 5_000_000_000


@pytest.mark.parametrize("line", [LINES[0], LINES[2], LINES[3]], ids=range(3))
def test_what_is_sent_in_a_burst_was_spoken_by_its_end(line: array.array[int]) -> None:
    pcm = pcm16(heard(line, silence_s=0.1))
    recent, at_ns = RecentAudio(RATE), 5_000_000_000
    for start in range(0, len(pcm), 3_200):
        at_ns += 300_000
        recent.add(pcm[start : start + 3_200], at_ns)
    ended_ns = recent.end_of_speech_ns()
    assert ended_ns is not None
    assert ended_ns <= at_ns


def test_half_a_second_of_frames_is_kept_at_most() -> None:
    frame = bytes(bytearray(640))
    references = sys.getrefcount(frame)
    recent, held = RecentAudio(RATE), []
    for n in range(3 * BLOCKS):
        recent.add(frame, n)
        held.append(sys.getrefcount(frame) - references)
    assert max(held) == WHOLE_S / BLOCK_S - 1


@pytest.mark.parametrize("frame_s", [0.010, 0.020, 0.100, 1.0])
def test_the_window_is_bounded_however_long_the_call(frame_s: float) -> None:
    frame = bytes(round(2 * RATE * frame_s))
    recent, held = RecentAudio(RATE), []
    tracemalloc.start()
    for _ in range(3):
        for n in range(round(2 * WINDOW_S / frame_s)):
            recent.add(frame, n)
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[2] - held[1] < 5_000
    assert held[2] < 60_000


def test_looking_again_and_again_while_nobody_sends_holds_nothing() -> None:
    recent = RecentAudio(RATE)
    held = []
    tracemalloc.start()
    for _ in range(3):
        assert [recent.end_of_speech_ns() for _ in range(100)] == [None] * 100
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[2] - held[1] < 500


def test_what_is_older_than_the_window_is_forgotten() -> None:
    pcm = speech(1.0)
    assert sent(pcm + bytes(2 * int((WINDOW_S - 0.8) * RATE))).end_of_speech_ns() is not None
    assert sent(pcm + bytes(2 * int((WINDOW_S + 0.1) * RATE))).end_of_speech_ns() is None


def test_a_turn_counts_from_the_end_of_the_sound() -> None:
    recorder = Recorder()
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer)
    began = session.now_ns()
    pcm = speech(1.0) + bytes(2 * RATE)
    for start in range(0, len(pcm), 1_280):
        session.audio_sent(pcm[start : start + 1_280], began + (start // 1_280 + 1) * 40_000_000)
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
        session.audio_sent(pcm[start : start + 1_280], began + 2_000_000_000 + start // 1_280 * 40_000_000)
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
