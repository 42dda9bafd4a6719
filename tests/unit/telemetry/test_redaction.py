"""What is masked in captured text, what is left alone, and that the collector's patterns are the same."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from support.received import ReceivedSpan
from support.telling import IDENTITY, MODEL, Recorder, named
from voicespan import Capture, Close, VoiceSession, redaction
from voicespan import events as ev
from voicespan.content import MAX_FIELD, capture_from_environment
from voicespan.events import ToolOutcome

KEY = "AIza" + "a" * 35


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"my key is {KEY}.", "my key is [secret]."),
        ("Authorization: Bearer abcdefghijklmnop1234", "Authorization: [secret]"),
        ("https://x/y?key=123&z=1", "https://x/y[secret]&z=1"),
        ("write to ann.lee+x@example.co.uk today", "write to [email] today"),
        ("card 4111 1111 1111 1111 please", "card [card] please"),
        ("card 4111-1111-1111-1111", "card [card]"),
        ("card 4111\u00a01111\u00a01111\u00a01111", "card [card]"),
        ("card 4111\u20131111\u20131111\u20131111", "card [card]"),
        ("call +358\u00a040\u202f123\u202f4567 now", "call [phone] now"),
        ("call +358 40 123 4567 now", "call [phone] now"),
        ("call (212) 555-0100", "call [phone]"),
    ],
)
def test_masked(text: str, expected: str) -> None:
    assert redaction.redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "It is 826 metres to the east, 12 minutes on foot.",
        "order 4111 1111 1111 1112",  # no card has this check digit
        "at 1795483895911 milliseconds",
        "2026-11-24T01:30:00.123456Z",
        "60.17031, 24.95221",
        "4f9c2b1e-77aa-4c11-9d3e-0123456789ab",
    ],
)
def test_left_alone(text: str) -> None:
    assert redaction.redact(text) == text


@given(st.text())
def test_masking_twice_is_masking_once(text: str) -> None:
    once = redaction.redact(text)
    assert redaction.redact(once) == once


@given(st.lists(st.integers(0, 9), min_size=12, max_size=18))
def test_a_number_with_its_check_digit_is_a_card_and_with_another_is_none(digits: list[int]) -> None:
    plain = "".join(map(str, digits))
    matching = [check for check in range(10) if redaction.is_card_number(plain + str(check))]
    assert len(matching) == 1


def test_strings_inside_values_are_masked_and_json_stays_json() -> None:
    value = {"to": "a@b.example", "n": 4111111111111111, "password": "x", "list": [{"api_key": 1}, ("a@b.example",)]}
    value |= {"of": {"a@b.example": 1, "c@d.example": 2, 3: None}}
    shown = json.loads(Capture(on_spans=True).json(value))
    assert shown == {
        "to": "[email]",
        "n": 4111111111111111,
        "password": "[secret]",
        "list": [{"api_key": "[secret]"}, ["[email]"]],
        "of": {"[email]": 1, "[email] 2": 2, "3": None},
    }


def test_long_text_says_that_it_was_cut() -> None:
    shown = Capture(on_spans=True).text("x" * (MAX_FIELD + 1))
    assert len(shown) == MAX_FIELD
    assert shown.endswith(" more characters]")
    assert "[… about 100" in Capture(on_spans=True).text("x" * (MAX_FIELD + 99_980))


def session_of(text: str, capture: Capture) -> list[ReceivedSpan]:
    recorder = Recorder()
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer, capture=capture, instructions=text)
    session.feed(ev.UserText(text))
    session.feed(ev.ToolCall("1", "search_nearby", {"query": text, "nested": [text]}))
    session.feed(ev.ToolResponse("1", ToolOutcome.ERROR, {"error": text}, f"failed: {text}"))
    session.feed(ev.ToolCall("2", "contacts", {text: 1}))
    found = {"by_mail": {text: "Ann"}, "set": {text}, "bytes": text.encode(), "object": Path(text)}
    session.feed(ev.ToolResponse("2", ToolOutcome.OK, found))
    session.feed(ev.OutputTranscript(text))
    session.feed(ev.ModelAudio(0.2))
    session.close(Close(1000, "bye", "client"))
    return recorder.spans()


@pytest.mark.parametrize("secret", [KEY, "ann@example.com", "4111 1111 1111 1111", "+358 40 123 4567"])
def test_a_secret_that_was_said_is_on_no_span(secret: str) -> None:
    for span in session_of(f"it is {secret} indeed", Capture(on_spans=True)):
        assert secret.encode() not in span.raw, span.name


@pytest.mark.parametrize("secret", [KEY, "ann@example.com"])
@pytest.mark.parametrize("capture", [Capture(), Capture(True, True)])
def test_a_secret_that_somebody_hung_up_with_is_nowhere(secret: str, capture: Capture) -> None:
    recorder, close = Recorder(), Close(1008, f"not with {secret}")
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer, capture=capture, logger=recorder.logger)
    for event in (
        ev.Dialing(),
        ev.Connected(),
        ev.Disconnected(close),
        ev.Dialing(),
        ev.Disconnected(close, "refused"),
    ):
        session.feed(event)
    session.close(close, "client_gone")
    assert secret not in repr(recorder.logs())
    for span in recorder.spans():
        assert secret.encode() not in span.raw, span.name
    assert "not with [" in named(recorder.spans(), "WebSocket Session").status_message


def test_without_capture_not_even_an_error_tells_what_was_said() -> None:
    spans = session_of("the canary sang", Capture())
    assert not any(b"canary" in span.raw for span in spans)
    tool = named(spans, "tool-search_nearby")
    assert (tool.status, tool.status_message) == ("ERROR", "error")


def test_a_hook_of_ones_own_replaces_the_masking() -> None:
    spans = session_of("the canary sang", Capture(on_spans=True, redact=lambda text: text.replace("canary", "bird")))
    assert not any(b"canary" in span.raw for span in spans)
    assert any(b"bird" in span.raw for span in spans)


@pytest.mark.parametrize(
    ("asked", "captured"),
    [
        ("", False),
        ("NO_CONTENT", False),
        ("event_only", False),
        ("SPAN_ONLY", True),
        ("span_and_event", True),
        ("true", False),
    ],
)
def test_capture_modes(asked: str, captured: bool, caplog: pytest.LogCaptureFixture) -> None:
    found = capture_from_environment({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": asked})
    assert found.on_spans is captured
    assert ("is none of" in caplog.text) == (asked == "true")


def test_the_collector_masks_the_same_credentials_and_addresses() -> None:
    config = yaml.safe_load((Path(__file__).resolve().parents[3] / "otel-collector.yaml").read_text())
    processors = config["processors"]

    def same(pattern: str) -> str:
        return pattern.replace("(?i)bearer", "(?i:bearer)")

    assert [same(p) for p in processors["redaction/secrets"]["blocked_values"]] == list(redaction.SECRETS)
    assert redaction.MAIL in processors["redaction/pii"]["blocked_values"]
    [pattern] = processors["redaction/secrets"]["blocked_key_patterns"]
    assert pattern == redaction._SECRET_KEY.pattern
    statements = processors["transform/secrets_in_status"]["trace_statements"]
    masked = [statement.split(",")[0].partition("(")[2] for statement in statements]
    assert masked == ["span.status.message", "span.name"]
    for statement in statements:
        for secret in redaction.SECRETS:
            assert secret.replace("\\", "\\\\").replace("(?:key|", "(key|") in statement


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", ["x", "1", "1 ", "+1 ", "00 ", "a@", "key=", "AIza", "x@x.", "(1", "bearer "])
def test_a_long_text_does_not_cost_its_length_squared(piece: str) -> None:
    # Linear, this takes a few tenths of a second at the most; squared, the better part of an hour.
    assert redaction.redact(piece * (400_000 // len(piece)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://me:p%40ss@collector:4318/v1/traces", "http://********@collector:4318/v1/traces"),
        ("me:p@ss@collector:4317", "********@collector:4317"),
        ("http://a-token@collector:4318/v1/traces", "http://********@collector:4318/v1/traces"),
        ("http://a%40token:@collector, //t@k@en@b", "http://********@collector, //********@b"),
        ("a-token@collector:4317", "********@collector:4317"),
        ("ann@example.com has collector:4317", "ann@example.com has collector:4317"),
        ("http://collector/a@b?c=d@e#f@g", "http://collector/a@b?c=d@e#f@g"),
        (
            "https://me:pass@a/x refused a span, https://b:1/@c took it",
            "https://********@a/x refused a span, https://b:1/@c took it",
        ),
        ("collector:4317 answers: ask ann@example.com", "collector:4317 answers: ask ann@example.com"),
        ("https://host/?a=//b:c@d", "https://host/?a=//********@d"),
    ],
)
def test_a_url_is_shown_without_its_password(text: str, expected: str) -> None:
    assert redaction.without_password(text) == expected
