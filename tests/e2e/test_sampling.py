"""deploy/collector/sampling.yaml in a real collector: calls are in Jaeger whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import pytest
from benchmarks.pipeline.stories import Manner, Teller
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan

from support.backends import wait_for
from support.collector import CONFIG, REPOSITORY, CollectorProcess
from support.langfuse_sink import LangfuseSink
from support.otlp_client import make_span, post, traces_request
from support.otlp_sink import OtlpGrpcSink
from support.received import ReceivedSpan
from support.telling import MODEL, Recorder
from voicespan import VoiceSession

pytestmark = [pytest.mark.e2e, pytest.mark.collector]

SAMPLED = (CONFIG, REPOSITORY / "deploy/collector/sampling.yaml")
# A call in which nothing happens that anybody would look for.
DULL = Manner(
    tool_fails=0,
    barge_in_share=0,
    stall_share=0,
    noise_share=0,
    lost_share=0,
    go_away_share=0,
    odd_share=0,
)
NOTEWORTHY = {
    "error": replace(DULL, tool_share=1, tool_fails=1),
    "stall": replace(DULL, stall_share=1),
    "slow": replace(DULL, model_s=6.0),
    "cut": replace(DULL, go_away_share=1, reconnect_s=6.0),
    "dear": replace(DULL, context_tokens=400_000),
}


def told(manner: Manner) -> Sequence[ReadableSpan]:
    """A call's spans, as they ended."""
    recorder = Recorder()
    Teller(manner, seed=1).tell(VoiceSession(recorder.identity, MODEL, tracer=recorder.tracer))
    return recorder.finished_spans()


def send_told(collector: CollectorProcess, *calls: Sequence[ReadableSpan]) -> None:
    """Calls that go on at the same time, each span on its own."""
    for spans in zip_longest(*calls):
        for span in filter(None, spans):
            assert post(f"{collector.http_endpoint}/v1/traces", encode_spans([span])) == 200


def send(collector: CollectorProcess, span: Span) -> None:
    assert post(f"{collector.http_endpoint}/v1/traces", traces_request([span])) == 200


def ids(call: Sequence[ReadableSpan]) -> set[str]:
    return {f"{span.context.span_id:016x}" for span in call if span.context}


def names(spans: Sequence[ReceivedSpan], trace_id: int) -> list[str]:
    return [span.name for span in spans if int(span.trace_id, 16) == trace_id]


@pytest.mark.parametrize("name", NOTEWORTHY)
def test_a_call_with_something_to_look_at_is_kept_whole_and_a_dull_one_is_not(
    collector_binary: Path, langfuse: LangfuseSink, jaeger: OtlpGrpcSink, name: str
) -> None:
    noteworthy, dull = told(NOTEWORTHY[name]), told(DULL)
    env = {"OTELCOL_SAMPLING_PERCENT": "0"}
    with CollectorProcess(collector_binary, langfuse=langfuse, jaeger=jaeger, env=env, configs=SAMPLED) as collector:
        send_told(collector, dull, noteworthy)
        jaeger.spans.wait_count(len(noteworthy))
        langfuse.spans.wait_count(len(noteworthy) + len(dull))
    # The collector has stopped: what it still held is decided, too.
    assert {span.span_id for span in jaeger.spans.all()} == ids(noteworthy)
    assert {span.span_id for span in langfuse.spans.all()} == ids(noteworthy) | ids(dull)


def test_of_the_rest_a_share_is_kept_and_every_collector_keeps_the_same(collector_binary: Path) -> None:
    calls = [told(DULL) for _ in range(60)]
    kept: list[set[str]] = []
    for _ in range(2):
        with OtlpGrpcSink() as jaeger:
            env = {"OTELCOL_SAMPLING_PERCENT": "50"}
            with CollectorProcess(collector_binary, jaeger=jaeger, env=env, configs=SAMPLED) as collector:
                send_told(collector, *calls)
            kept.append({span.span_id for span in jaeger.spans.all()})
    whole = [ids(call) <= kept[0] for call in calls]
    assert (
        kept[0] == kept[1] == set().union(*(ids(call) for call, is_whole in zip(calls, whole, strict=True) if is_whole))
    )
    assert 10 < sum(whole) < 50  # either end is as likely as one in ten million


EARLY, LATE = 0xA, 0xB  # calls that go wrong in their first turn, and in their second
CLOCK = 0xC0000000
TURNS = 3
# The least that there is: a window of a second, and one trace in memory, as if others had pushed the rest out.
SHORT = {"OTELCOL_SAMPLING_PERCENT": "0", "OTELCOL_SAMPLING_WAIT": "1s", "OTELCOL_SAMPLING_TRACES": "1"}
NO_CACHE: dict[str, str | int] = {
    f"processors::tail_sampling/jaeger::decision_cache::{cache}_cache_size": 0 for cache in ("sampled", "non_sampled")
}


def decided(collector: CollectorProcess) -> int:
    """Traces decided so far, and spans that followed a decision that was remembered."""
    counters = "(?:global_count_traces_sampled|early_releases_from_cache_decision)"
    found = re.findall(rf"^otelcol_processor_tail_sampling_{counters}{{.*}} (\S+)$", collector.metrics(), re.MULTILINE)
    return sum(map(int, found))


def play_long_calls(collector: CollectorProcess) -> None:
    """Two calls that outlast a window with each of their turns, and whose own spans come last."""

    def send_and_wait(span: Span) -> None:
        before = decided(collector)
        send(collector, span)
        wait_for(lambda: decided(collector), lambda now: now == before + 1, 10)

    def both(name: str, number: int, wrong_in: dict[int, int]) -> None:
        for trace_id in (EARLY, LATE):
            error = "it went wrong" if wrong_in[trace_id] == number else None
            send_and_wait(make_span(name, number, trace_id=trace_id, error=error))
        send_and_wait(make_span("GET /healthz", 1, trace_id=CLOCK + number))

    for number in range(1, TURNS + 1):
        both(f"Turn {number}", number, {EARLY: 1, LATE: 2})
    both("WebSocket Session", TURNS + 1, {EARLY: 0, LATE: TURNS + 1})


def test_a_call_that_outlasts_the_window_follows_its_first_decision(
    collector_binary: Path, jaeger: OtlpGrpcSink
) -> None:
    with CollectorProcess(collector_binary, jaeger=jaeger, env=SHORT, configs=SAMPLED) as collector:
        play_long_calls(collector)
    spans = jaeger.spans.all()
    assert names(spans, EARLY) == [*(f"Turn {number}" for number in range(1, TURNS + 1)), "WebSocket Session"]
    assert names(spans, LATE) == []


def test_without_the_caches_it_would_be_torn(collector_binary: Path, jaeger: OtlpGrpcSink) -> None:
    with CollectorProcess(collector_binary, jaeger=jaeger, env=SHORT, overrides=NO_CACHE, configs=SAMPLED) as collector:
        play_long_calls(collector)
    spans = jaeger.spans.all()
    assert names(spans, EARLY) == ["Turn 1"]
    assert names(spans, LATE) == ["Turn 2", "WebSocket Session"]
