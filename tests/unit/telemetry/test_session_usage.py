"""What the spans say of tokens and money: reported, estimated and marked so, or not there."""

import json

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from support import langfuse_contract
from support.story import events
from support.telling import IDENTITY, MODEL, Recorder, named, tell
from voicespan import Close, Model, Usage, VoiceSession
from voicespan import events as ev
from voicespan.attributes import Attributes
from voicespan.totals import RunningTotals, of_context

CALL = "ON MIC VAS I VAE CALL1 RESP1 a A T A GC U TC I VAE A GC VAS INT U TC BYE"


def test_a_model_without_a_price_has_no_cost_rather_than_none() -> None:
    spans = tell(CALL, model=Model("unheard-of"))
    assert not any("cost" in key for span in spans for key in span.attributes)


def test_usage_of_a_turn_that_the_model_had_no_part_in_is_missing_not_zero() -> None:
    turn = named(tell("MIC I VAE BYE"), "Turn 1")
    assert turn.attributes["voicespan.usage.source"] == "missing"
    assert "gen_ai.usage.input_tokens" not in turn.attributes
    assert "langfuse.observation.usage_details" not in turn.attributes


def test_a_total_that_the_provider_has_not_is_not_told() -> None:
    recorder = Recorder()
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer)
    for event in (ev.ModelAudio(0.5), ev.UsageReport(Usage(input_audio=30, output_audio=50)), ev.TurnComplete()):
        session.feed(event)
    session.close(Close(1000))
    turn = named(recorder.spans(), "Turn 1").attributes
    assert (turn["gen_ai.usage.input_tokens"], turn["gen_ai.usage.output_tokens"]) == (30, 50)
    assert "voicespan.usage.provider_total_tokens" not in turn


def test_usage_that_never_came_is_estimated_and_says_so() -> None:
    spans = tell("cc A GC U TC cc A GC BYE")
    turn = named(spans, "Turn 2").attributes
    assert turn["voicespan.usage.source"] == "estimated"
    assert "gen_ai.usage.input_tokens" not in turn
    details = json.loads(str(turn["langfuse.observation.usage_details"]))
    # 100 text, 20 audio and 30 of the answer before it, one for the word that was typed; 0.2 s of voice.
    assert details == {
        "input_text_estimated": 131, "input_audio_estimated": 20, "output_audio_estimated": 5, "total": 156,
    }  # fmt: skip
    session = named(spans, "WebSocket Session").attributes
    assert json.loads(str(session["voicespan.session.usage_details"])) == {
        "input_text": 100, "input_audio": 20, "output_audio": 30,
        "input_text_estimated": 131, "input_audio_estimated": 20, "output_audio_estimated": 5, "total": 306,
    }  # fmt: skip
    langfuse_contract.trace(spans)


def test_a_turn_says_what_of_its_prompt_was_billed_before() -> None:
    spans = tell("cc A GC U TC cc A GC U TC BYE")
    turns = [named(spans, name).attributes for name in ("Turn 1", "Turn 2")]
    assert [turn["voicespan.usage.rebilled_input_tokens"] for turn in turns] == [0, 120]
    assert [turn["voicespan.usage.fresh_input_tokens"] for turn in turns] == [120, 0]
    session = named(spans, "WebSocket Session").attributes
    assert session["voicespan.session.fresh_input_tokens"] == 120
    assert session["voicespan.session.rebilled_input_tokens"] == 120


class Journalist(SpanProcessor):
    """Notes, as a store does, what a session has come to when each turn ends."""

    def __init__(self) -> None:
        self.totals: RunningTotals | None = None
        self.noted: list[Attributes] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        found = of_context(parent_context)
        assert (found is not None) == (span.name == "WebSocket Session")
        self.totals = found or self.totals

    def on_end(self, span: ReadableSpan) -> None:
        if span.name.startswith("Turn") and self.totals:
            self.noted.append(self.totals.attributes())


def test_who_keeps_a_journal_can_ask_at_every_turn_how_far_the_session_has_come() -> None:
    """Should the process die, that is what is known of it; the session's span says it only when it ends."""
    recorder, journalist = Recorder(), Journalist()
    recorder.provider.add_span_processor(journalist)
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer)
    for event, at in events("ON cc CALL1 RESP1 A GC U TC cc A GC U TC"):
        session.feed(event, session.began_ns + at)
    first, second = journalist.noted
    assert (first["voicespan.session.turns"], first["voicespan.session.tool_calls"]) == (1, 1)
    assert first["voicespan.session.cost"] == pytest.approx(5.2e-4)
    session.close(Close(1000, "", "client"))
    said = named(recorder.spans(), "WebSocket Session").attributes
    assert second.items() <= said.items()
    assert {name for name in said if name.startswith("voicespan.session.")} - second.keys() == {
        "voicespan.session.close_code",
        "voicespan.session.close_reason",
        "voicespan.session.close_initiator",
    }
