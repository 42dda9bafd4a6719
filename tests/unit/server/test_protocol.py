"""voice.v1: what a client may send, and what it is told when it sends something else."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicespan_server import protocol as p


def test_a_hello_has_defaults() -> None:
    hello = p.parse('{"type": "hello"}')
    assert hello == p.Hello(type="hello", v=1, input=p.HelloInput(rate=16_000))


def test_fields_that_a_later_version_may_add_are_ignored() -> None:
    assert p.parse('{"type": "bye", "because": "late"}') == p.Bye(type="bye")
    assert p.parse('{"type": "dance"}') == p.Unknown(type="dance")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "must be JSON"),
        ("[1]", 'a JSON object with a "type"'),
        ('{"type": 1}', 'a JSON object with a "type"'),
        ('{"type": "hello", "v": 2}', "hello: v"),
        ('{"type": "hello", "input": {"rate": 8000}}', "hello: input.rate"),
        ('{"type": "text"}', "text: text"),
        ('{"type": "text", "text": ""}', "text: text"),
    ],
)
def test_a_message_that_cannot_be_taken_is_told_why(text: str, told: str) -> None:
    with pytest.raises(p.ProtocolError, match=told):
        p.parse(text)


@given(st.text())
def test_any_text_is_a_message_or_a_protocol_error(text: str) -> None:
    with contextlib.suppress(p.ProtocolError):
        assert p.parse(text).type


@pytest.mark.parametrize(("size", "told"), [(641, "even"), (40_000, "more than 32768")])
def test_audio_that_cannot_be_samples_is_refused(size: int, told: str) -> None:
    with pytest.raises(p.ProtocolError, match=told):
        p.check_audio(bytes(size), 32_768)


@given(st.text(max_size=300))
def test_a_close_reason_fits_its_frame(text: str) -> None:
    assert len(p.close_reason(text).encode()) <= p.MAX_REASON_BYTES


def test_only_a_well_formed_traceparent_is_believed() -> None:
    good = f"00-{'a' * 32}-{'b' * 16}-01"
    assert p.valid_traceparent(good) == good
    for bad in (None, "", good + "-x", good.upper(), "01" + good[2:]):
        assert p.valid_traceparent(bad) is None
