"""Span trees as text, and the fixtures that are lent to other programs' tests."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from support.fake_live import ANSWER, MODEL, Wire, client, wire
from voicespan.extras import missing
from voicespan.testing.recorded import Recorded, spans_of
from voicespan.testing.simulator import MakeClient
from voicespan.testing.tree import difference, parse, render

__all__ = ["wire"]


@dataclass(frozen=True)
class Span:
    name: str
    span_id: str
    parent_span_id: str = ""
    attributes: Mapping[str, object] = field(default_factory=dict)
    kind: str = "INTERNAL"
    status: str = "UNSET"
    start_ns: int = 0


CALL = [
    Span("Session", "s"),
    Span("Connection 1", "c", "s", start_ns=1),
    Span("Turn 1", "t1", "s", {"end": "completed", "tokens": 12, "reasons": ("stop",)}, "CLIENT", start_ns=2),
    Span("tool-find", "f", "t1", {"outcome": "ok"}, start_ns=3),
    Span("Turn 2", "t2", "s", {"end": "interrupted"}, "CLIENT", "ERROR", start_ns=4),
]


def test_a_tree_is_rendered_as_it_is_written() -> None:
    assert render(CALL, ["end"]) == (
        "Session\n  Connection 1\n  Turn 1 [end=completed]\n    tool-find\n  Turn 2 [end=interrupted]"
    )
    assert difference(render(CALL, ["end", "tokens", "reasons"]), CALL) == ""


@pytest.mark.parametrize(
    "expected",
    [
        """
        Session
          Connection 1
          Turn 1 [end=completed tokens=12 reasons=["stop"] kind=CLIENT status=UNSET]
            tool-* [outcome=*]
          Turn 2 [status=ERROR]
        """,
        "Session\n  ...",
        "Session\n  ...\n  Turn 1\n    ...\n  ...",
        "Session\n  Connection 1\n  ...\n  Turn 2\n  ...",
    ],
)
def test_what_is_as_expected_has_no_difference(expected: str) -> None:
    assert difference(expected, CALL) == ""


def test_a_difference_shows_both_trees_in_one() -> None:
    expected = """
        Session
          Turn 1 [end=cancelled cost=1]
            tool-find
            tool-book
              request
          Turn 2
          Turn 3
    """
    assert difference(expected, CALL).splitlines() == [
        "  Session",
        "+   Connection 1",
        "    Turn 1",
        "!       end: expected cancelled, is completed",
        "!       cost: expected 1, is not there",
        "      tool-find",
        "-     tool-book",
        "-       request",
        "    Turn 2",
        "-   Turn 3",
    ]


def test_of_two_alike_the_one_that_agrees_is_meant() -> None:
    twice = [Span("tool", "a", attributes={"n": 1}), Span("tool", "b", attributes={"n": 2}, start_ns=1)]
    assert difference("tool [n=2]", twice).splitlines() == ["+ tool", "  tool"]


def test_a_number_is_no_text() -> None:
    text = [Span("tool", "a", attributes={"n": "1"})]
    assert difference('tool [n="1"]', text) == ""
    assert "!" in difference("tool [n=1]", text)


@pytest.mark.parametrize("value", ["two words", "", "1", 'a "b"', "[x", ("a b", "c")])
def test_what_is_rendered_is_what_there_is_and_nothing_else(value: object) -> None:
    rendered = render([Span("tool [x]?", "a", attributes={"n": value})], ["n"])
    assert difference(rendered, [Span("tool [x]?", "a", attributes={"n": value})]) == ""
    assert difference(rendered, [Span("tool [x]?", "a", attributes={"n": "another"})]) != ""
    assert difference(rendered, [Span("tool [x]!", "a", attributes={"n": value})]) != ""


def test_what_is_no_attribute_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'words' .* is no NAME=VALUE"):
        parse("tool [n=two words]")


@pytest.mark.parametrize("expected", ["  a\n b", "a\n    b", "a\n  ...\n    b", "\ta"])
def test_an_indentation_that_means_nothing_is_refused(expected: str) -> None:
    with pytest.raises(ValueError, match="two spaces"):
        parse("root\n" + expected)


async def test_a_call_is_recorded(wire: Wire, voice_spans: Recorded) -> None:
    async with client().aio.live.connect(model=MODEL) as session:
        wire.last.push(*ANSWER)
        async for _ in session.receive():
            pass
    voice_spans.assert_tree("""
        WebSocket Session [voicespan.session.turns=1 session.id=*]
          Live Connection 1
          Turn 1 [voicespan.turn.end_reason=completed gen_ai.usage.input_tokens=120 kind=CLIENT]
    """)
    assert voice_spans.events[0] == "gen_ai.client.realtime_session.started"
    assert voice_spans.metrics["voicespan.turns"] == 1
    assert voice_spans.span("Turn 1").attributes["voicespan.turn.index"] == 1
    with pytest.raises(AssertionError, match="there are:\nWebSocket Session"):
        voice_spans.span("Turn 2")
    with pytest.raises(AssertionError, match="-   Turn 2"):
        voice_spans.assert_tree("WebSocket Session\n  Live Connection 1\n  Turn 1\n  Turn 2")
    voice_spans.clear()
    assert voice_spans.spans == []


async def test_a_simulated_call_says_so(voice_spans: Recorded, gemini_client: MakeClient) -> None:
    async with gemini_client(scenario="typed").aio.live.connect(model=MODEL) as session:
        await session.send_client_content(turns={"role": "user", "parts": [{"text": "Where?"}]})
        async for _ in session.receive():
            pass
    assert {span.attributes["voicespan.backend"] for span in voice_spans.spans} == {"simulator"}
    assert voice_spans.span("Turn 1").attributes["gen_ai.provider.name"] == "gcp.gemini"


def test_spans_of_an_exporter_of_ones_own_are_compared() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("app")
    with tracer.start_as_current_span("request"), tracer.start_as_current_span("query"):
        pass
    spans = spans_of(exporter.get_finished_spans())
    assert difference("request [status=UNSET]\n  query [kind=INTERNAL]", spans) == ""
    assert difference("request\n  store", spans).splitlines() == ["  request", "+   query", "-   store"]


def test_a_missing_extra_names_its_command() -> None:
    error = missing("the fixture voice_spans", ImportError("no", name="opentelemetry.sdk"), "sdk")
    assert str(error) == (
        "the fixture voice_spans needs opentelemetry.sdk, which is not installed: pip install 'voicespan[sdk]'"
    )
