"""Spans by the byte: what is written is, field by field, what the SDK's exporter would send."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.util.types import AttributeValue

from support.examples import examples
from voicespan.sdk import otlp
from voicespan.sdk.span_bytes import span_bytes

ids = st.integers(1, (1 << 64) - 1)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
single = st.one_of(text, st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1), st.floats(allow_nan=False), st.binary())
attributes = st.dictionaries(text, st.one_of(single, st.lists(text), st.lists(st.floats(allow_nan=False))), max_size=6)
contexts = st.builds(
    SpanContext,
    st.integers(1, (1 << 128) - 1),
    ids,
    st.booleans(),
    st.sampled_from([TraceFlags(0), TraceFlags(1)]),
    st.sampled_from([TraceState(), TraceState([("vendor", "1"), ("other", "x")])]),
)
times = st.integers(0, (1 << 63) - 1)
spans = st.builds(
    ReadableSpan,
    text,
    contexts,
    st.one_of(st.none(), contexts),
    attributes=attributes,
    events=st.lists(st.builds(Event, text, attributes, times), max_size=3),
    links=st.lists(st.builds(Link, contexts, attributes), max_size=3),
    kind=st.sampled_from(SpanKind),
    status=st.one_of(
        st.builds(Status, st.sampled_from([StatusCode.UNSET, StatusCode.OK])),
        st.builds(Status, st.just(StatusCode.ERROR), st.one_of(st.none(), text)),
    ),
    start_time=times,
    end_time=st.one_of(st.none(), times),
)


@settings(max_examples=examples(80), deadline=None)
@given(spans)
def test_a_span_is_what_the_sdk_would_send(span: ReadableSpan) -> None:
    [resource_spans] = encode_spans([span]).resource_spans
    [expected] = resource_spans.scope_spans[0].spans
    assert SpanMessage.FromString(span_bytes(span, dict(span.attributes or {}))) == expected


def test_values_that_are_equal_and_of_other_types_or_sizes_stay_apart_under_one_key() -> None:
    values = [1, True, 1.0, "1", 0, False, 0.0, -0.0, "", 127, 128, 16_384, -1, (1 << 63) - 1, -(1 << 63), ("1",)]
    for value in values * 2:
        span = ReadableSpan("Turn 1", SpanContext(1, 2, is_remote=False), attributes={"key": value})
        [expected] = encode_spans([span]).resource_spans[0].scope_spans[0].spans
        assert SpanMessage.FromString(span_bytes(span, {"key": value})) == expected


@pytest.mark.parametrize("value", ["\ud800", 1 << 63, object()], ids=["no Unicode", "too large", "no value at all"])
def test_an_attribute_that_cannot_be_written_is_left_out_alone(
    value: AttributeValue, caplog: pytest.LogCaptureFixture
) -> None:
    span = ReadableSpan("Turn 1", SpanContext(1, 2, is_remote=False))
    with caplog.at_level(logging.ERROR):
        written = SpanMessage.FromString(span_bytes(span, {"bad": value, "good": "yes"}))
    assert [pair.key for pair in written.attributes] == ["good"]
    assert "'bad'" in caplog.text


def test_spans_of_one_program_share_their_prefixes_and_those_of_another_have_their_own() -> None:
    def span(service: str, scope: str) -> ReadableSpan:
        return ReadableSpan(
            "s",
            SpanContext(1, 2, is_remote=False),
            resource=Resource({"service.name": service}),
            instrumentation_scope=InstrumentationScope(scope, "1"),
            start_time=1,
            end_time=2,
        )

    for one in (span("a", "x"), span("a", "y"), span("b", "x")):
        [record] = otlp.encode([one])
        sent = otlp.request([(record.resource, record.scope, record.body)])
        assert sent == encode_spans([one]).SerializeToString()
