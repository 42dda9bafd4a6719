import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.examples import examples
from support.simulated_call import noise, silence, tone
from voicespan_simulator.vad import SpeechDetector, SpeechEnded, SpeechEvent, SpeechStarted

RATES_HZ = (8_000, 16_000, 24_000, 48_000)


def decisions(pcm: bytes, rate_hz: int = 16_000, **options: float) -> list[SpeechEvent]:
    return SpeechDetector(**options).feed(pcm, rate_hz)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_start_is_decided_after_180_ms_of_speech_and_end_after_1050_ms_of_silence(rate_hz: int) -> None:
    pcm = silence(1.7, rate_hz) + tone(2.25, rate_hz) + silence(1.54, rate_hz)
    started, ended = decisions(pcm, rate_hz)
    assert isinstance(started, SpeechStarted)
    assert isinstance(ended, SpeechEnded)
    assert started.offset_s == pytest.approx(1.88, abs=0.011)
    assert ended.offset_s == pytest.approx(5.0, abs=0.011)
    assert ended.speech_s == pytest.approx(2.25, abs=0.021)


@given(gap_s=st.floats(0.0, 0.99), first_s=st.floats(0.3, 1.0), second_s=st.floats(0.05, 1.0))
@settings(max_examples=examples(25), deadline=None)
def test_a_pause_under_a_second_does_not_end_the_utterance(gap_s: float, first_s: float, second_s: float) -> None:
    events = decisions(tone(first_s) + silence(gap_s) + tone(second_s) + silence(1.2))
    assert [type(event) for event in events] == [SpeechStarted, SpeechEnded]


@given(cuts=st.lists(st.integers(0, 16_000 * 2 * 4), max_size=40))
@settings(max_examples=examples(40), deadline=None)
def test_decisions_do_not_depend_on_how_the_audio_is_cut(cuts: list[int]) -> None:
    pcm = silence(0.4) + tone(0.9) + silence(1.3) + tone(0.4) + silence(1.0)
    detector = SpeechDetector()
    bounds = [0, *sorted(cuts), len(pcm)]
    pieces = [pcm[begin:end] for begin, end in itertools.pairwise(bounds)]
    events = [event for piece in pieces for event in detector.feed(piece, 16_000)]
    assert events == decisions(pcm)
    assert len(events) == 3


@given(peak=st.integers(0, 400))
@settings(max_examples=examples(10), deadline=None)
def test_a_quiet_room_says_nothing(peak: int) -> None:
    assert decisions(noise(2.0, peak)) == []


def test_speech_is_found_over_a_noisy_room_once_the_room_is_known() -> None:
    events = decisions(noise(8.0, 700) + tone(1.0) + noise(2.0, 700))
    assert [type(event) for event in events] == [SpeechStarted, SpeechEnded]
    assert events[0].offset_s == pytest.approx(8.18, abs=0.02)


def test_a_click_is_no_speech() -> None:
    assert decisions(silence(0.5) + tone(0.05) + silence(1.5)) == []


def test_the_silence_that_ends_an_utterance_can_be_set() -> None:
    events = decisions(tone(1.0) + silence(1.0), silence_s=0.5)
    assert events[-1].offset_s == pytest.approx(1.5, abs=0.011)


def test_the_end_of_the_stream_ends_the_utterance_once() -> None:
    detector = SpeechDetector()
    detector.feed(tone(1.0), 16_000)
    assert detector.speaking
    assert detector.flush() == SpeechEnded(1.0, 0.0, 1.0)
    assert detector.flush() is None
    assert not detector.speaking


def test_a_change_of_rate_goes_on_counting_seconds() -> None:
    detector = SpeechDetector()
    detector.feed(silence(1.0), 16_000)
    detector.feed(silence(1.0, 48_000), 48_000)
    assert detector.offset_s == 2.0
