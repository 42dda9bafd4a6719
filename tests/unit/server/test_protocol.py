"""voice.v1: what a client may send, and what it is told when it sends something else."""

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicespan_server import protocol as p
from voicespan_server.settings import Settings


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
        ('{"type": "hello", "input": {"turns": "mine"}}', "hello: input.turns"),
        ('{"type": "hello", "resume": {"token": "t"}}', "hello: resume.session_id"),
        ('{"type": "ping", "t": "5"}', "ping: t: a number is needed"),
        ('{"type": "ping", "t": Infinity}', "ping: t: a number is needed"),
        ('{"type": "ping", "t": NaN}', "ping: t: a number is needed"),
        ('{"type": "ping", "t": true}', "ping: t: a number is needed"),
        ('{"type": "image", "mime": "image/gif", "data": "R0lGOA=="}', "image: mime"),
        ('{"type": "image", "mime": "image/png", "data": "not base64!"}', "image: data: base64 is needed"),
        ('{"type": "image", "mime": "image/png", "data": "\\u00e9"}', "image: data: base64 is needed"),
        ('{"type": "image", "mime": "image/png", "data": 7}', "image: data: base64 text is needed"),
        ('{"type": "image", "mime": "image/png", "data": ""}', "image: data"),
    ],
)
def test_a_message_that_cannot_be_taken_is_told_why(text: str, told: str) -> None:
    with pytest.raises(p.ProtocolError, match=told):
        p.parse(text)


@given(st.text())
def test_any_text_is_a_message_or_a_protocol_error(text: str) -> None:
    with contextlib.suppress(p.ProtocolError):
        assert p.parse(text).type


@pytest.mark.parametrize("said", ["5", "1795780097123456789", "9" * 400, "5.0", "0.25", "-1"])
def test_a_ping_is_answered_by_the_number_that_it_has(said: str) -> None:
    ping = p.parse(f'{{"type": "ping", "t": {said}}}')
    assert isinstance(ping, p.Ping)
    assert json.dumps(ping.t) == said


@pytest.mark.parametrize(("size", "told"), [(641, "even"), (40_000, "more than 32768")])
def test_audio_that_cannot_be_samples_is_refused(size: int, told: str) -> None:
    with pytest.raises(p.ProtocolError, match=told):
        p.check_audio(bytes(size), 32_768)


@given(st.text(max_size=300))
def test_a_close_reason_fits_its_frame(text: str) -> None:
    assert len(p.close_reason(text).encode()) <= p.MAX_REASON_BYTES


def test_only_a_well_formed_traceparent_is_believed() -> None:
    good = f"00-{'a' * 32}-{'b' * 16}-01"
    assert p.is_traceparent(good)
    for bad in (None, "", good + "-x", good.upper(), "01" + good[2:]):
        assert not p.is_traceparent(bad)


def test_a_picture_is_decoded() -> None:
    told = p.parse('{"type": "image", "mime": "image/png", "data": "iVBORw=="}')
    assert isinstance(told, p.Image)
    assert told.data == b"\x89PNG"


def test_the_longest_message_of_every_kind_fits_the_longest_frame() -> None:
    settings = Settings(backend="simulator", max_image_bytes=400_000, max_frame_bytes=32_768)
    picture = {"type": "image", "mime": "image/jpeg", "data": base64.b64encode(bytes(400_000)).decode()}
    words = {"type": "text", "text": "\U0001f600" * p.MAX_TEXT_CHARS}
    for message in (picture, words):
        text = json.dumps(message)
        assert len(text) <= settings.max_message_bytes
        assert p.parse(text).type == message["type"]


def test_an_error_says_when_to_come_back_where_that_is_known() -> None:
    assert "retry_after_ms" not in p.error("model_refused", "no")
    assert p.error("quota", "later", retryable=True, retry_after_ms=7_000)["retry_after_ms"] == 7_000


def test_what_the_model_says_is_utf_8_for_the_client_whatever_it_was() -> None:
    frame = p.encode({"type": "transcript", "text": "half \ud800 a character, and a café"})
    assert frame.encode()
    assert "\ufffd a character, and a café" in frame


def test_half_a_character_is_read_as_the_replacement_character() -> None:
    found = p.parse('{"type": "text", "text": "caf\\ud800 \\ud83d\\ude00"}')
    assert isinstance(found, p.Text)
    assert found.text == "caf\ufffd \N{GRINNING FACE}"
    unknown = p.parse('{"type": "\\uD800"}')
    assert p.close_reason(f"not {unknown.type}").encode()
