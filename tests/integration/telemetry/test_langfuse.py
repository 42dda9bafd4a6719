"""Langfuse's SDK beside the collector: it checks, links and reads, and it exports nothing."""

import base64
import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from support.langfuse_rows import Row, row_of
from support.langfuse_sink import LangfuseSink
from support.otlp_client import Plain, make_span, post_bytes, traces_request
from support.received import decode_traces
from voicespan.langfuse import LangfuseClient, LangfuseError, SessionSums
from voicespan.session_scores import Score

# The SDK keeps one set of threads per public key for the life of the process.
_numbers = itertools.count(1)


@pytest.fixture
def api() -> Iterator[LangfuseSink]:
    with LangfuseSink(public_key=f"pk-lf-{next(_numbers)}", secret_key="sk-lf-1") as sink:
        yield sink


@pytest.fixture
def client(api: LangfuseSink) -> Iterator[LangfuseClient]:
    made = LangfuseClient(api.public_key, "sk-lf-1", api.base_url)
    yield made
    made.close()


def test_right_keys_pass_the_check(client: LangfuseClient) -> None:
    assert client.check() is None


def test_wrong_keys_are_told_by_the_variables_that_hold_them(api: LangfuseSink) -> None:
    wrong = LangfuseClient("pk-lf-other", "sk-lf-other", api.base_url)
    assert "LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY" in str(wrong.check())
    wrong.close()


def test_a_langfuse_that_is_not_there_is_told() -> None:
    nowhere = LangfuseClient("pk-lf-nowhere", "sk-lf", "http://127.0.0.1:1")
    assert "http://127.0.0.1:1 cannot be reached" in str(nowhere.check())
    assert nowhere.trace_url("a" * 32) is None
    nowhere.close()


def test_a_link_leads_to_the_project(client: LangfuseClient, api: LangfuseSink) -> None:
    assert client.trace_url("a" * 32) == f"{api.base_url}/project/project-1/traces/{'a' * 32}"


TURN: dict[str, Plain] = {
    "session.id": "s-7",
    "langfuse.observation.type": "generation",
    "langfuse.observation.usage_details": '{"input_audio":3,"total":3}',
    "langfuse.observation.cost_details": '{"input_audio":0.25,"total":0.25}',
}
START_S = 1_790_000_000


def turns(count: int) -> list[Row]:
    spans = [
        make_span(f"Turn {n}", n, 99, trace_id=1, start_ns=START_S * 10**9, end_ns=START_S * 10**9 + n, attributes=TURN)
        for n in range(1, count + 1)
    ]
    return [row_of(span) for span in decode_traces(traces_request(spans), 0)]


def test_what_arrived_can_be_read_back(client: LangfuseClient, api: LangfuseSink) -> None:
    api.api.add_rows(turns(2))
    found = client.observations(f"{1:032x}")
    assert sorted((row.name, row.type, row.total_cost) for row in found) == [
        ("Turn 1", "GENERATION", 0.25),
        ("Turn 2", "GENERATION", 0.25),
    ]
    assert client.observations(f"{2:032x}") == []


def test_a_sessions_sums_come_from_langfuse(client: LangfuseClient, api: LangfuseSink) -> None:
    api.api.add_rows(turns(2))
    began = datetime.fromtimestamp(START_S, UTC)
    later = began + timedelta(minutes=1)
    assert client.session_sums("s-7", began, later) == SessionSums(2, 0.5)
    assert client.session_sums("s-8", began, later) == SessionSums(0, 0.0)
    assert client.session_sums("s-7", later, later + timedelta(minutes=1)) == SessionSums(0, 0.0)


def test_what_was_taken_is_readable_later(client: LangfuseClient, api: LangfuseSink) -> None:
    api.api.readable_after_s = 3600
    api.api.add_rows(turns(1))
    assert client.observations(f"{1:032x}") == []


def test_reading_that_fails_is_told(client: LangfuseClient, api: LangfuseSink) -> None:
    assert client.version() == "4.16.0"
    api.fail_next_api(404)
    with pytest.raises(LangfuseError, match=r"could not be read: HTTP 404 \{'message': 'ordered by the test'\}$"):
        client.scores("s-7")
    api.stop()
    with pytest.raises(LangfuseError, match="could not be read"):
        client.observations("a" * 32)


def test_a_sessions_scores_can_be_read(client: LangfuseClient, api: LangfuseSink) -> None:
    credentials = base64.b64encode(f"{api.public_key}:sk-lf-1".encode()).decode()
    for value in (1.0, 0.0):
        body = Score("user_feedback", value, "a slip").body("s-7", START_S * 10**9)
        posted = json.dumps([{"id": "s-7-user_feedback", **body}]).encode()
        assert post_bytes(f"{api.base_url}/api/public/scores", posted, {"Authorization": f"Basic {credentials}"}) == 202
    [score] = client.scores("s-7")
    assert (score.id, score.name, score.value, score.comment) == ("s-7-user_feedback", "user_feedback", 0.0, "a slip")
    assert client.scores("s-8") == []


def test_no_span_of_the_program_reaches_langfuse_by_its_sdk(client: LangfuseClient, api: LangfuseSink) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.get_tracer("voicespan").start_span("Turn 1", attributes={"gen_ai.operation.name": "chat"}).end()
    client.close()
    assert api.requests.all() == []
    assert not isinstance(trace.get_tracer_provider(), TracerProvider), "the global provider is not ours to set"


@pytest.mark.parametrize("keys", [("", "sk"), ("pk", "")])
def test_empty_keys_are_refused(keys: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="public and a secret key"):
        LangfuseClient(*keys, "http://127.0.0.1:1")
