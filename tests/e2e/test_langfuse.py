"""Langfuse as a contract, assertion by assertion: what the real collector delivers from the real server.

The numbers are the contract's own; those without a test of their own here are rules of support/langfuse_contract.py.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from support import langfuse_contract as contract
from support.langfuse_rows import Row, row_of
from support.langfuse_sink import PATH, LangfuseSink
from support.langfuse_story import ASKED, ENVIRONMENT, LOST, Story, play
from support.received import ReceivedSpan, render_tree
from voicespan_simulator.process import SimulatorProcess

pytestmark = [pytest.mark.e2e, pytest.mark.collector]

VOICE = ("talk", "vanished", "stopped", "quiet")
CHATS = ("chat", "retried", "quiet chat")


@pytest.fixture(scope="module")
def story(collector_binary: Path, simulator: SimulatorProcess) -> Story:
    return play(collector_binary, simulator)


@pytest.fixture(scope="module")
def delivered(story: Story) -> list[ReceivedSpan]:
    return story.langfuse.spans.all()


def named(spans: Sequence[ReceivedSpan], name: str) -> ReceivedSpan:
    [found] = [span for span in spans if span.name == name]
    return found


def turns(spans: Sequence[ReceivedSpan]) -> list[ReceivedSpan]:
    return sorted((span for span in spans if span.name.startswith("Turn ")), key=lambda span: span.start_ns)


def rows(spans: Sequence[ReceivedSpan]) -> dict[str, Row]:
    return {span.name: row_of(span) for span in spans}


def chat_messages(span: ReceivedSpan, side: str) -> list[dict[str, object]]:
    return list(json.loads(str(span.attributes[f"langfuse.observation.{side}"])))


# --- transport ------------------------------------------------------------------------------------------------------


def test_01_the_credentials_are_exact(story: Story) -> None:
    expected = base64.b64encode(f"{story.langfuse.public_key}:{story.langfuse.secret_key}".encode()).decode()
    requests = story.langfuse.requests.all()
    assert {request.headers["authorization"] for request in requests} == {f"Basic {expected}"}


def test_02_the_ingestion_version_is_4(story: Story) -> None:
    assert {r.headers["x-langfuse-ingestion-version"] for r in story.langfuse.requests.all()} == {"4"}


def test_03_the_body_is_protobuf_and_gzip(story: Story) -> None:
    requests = story.langfuse.requests.all()
    assert {r.path for r in requests} == {PATH}
    assert {r.headers["content-type"] for r in requests} == {"application/x-protobuf"}
    assert {r.headers.get("content-encoding", "none") for r in requests} <= {"gzip", "none"}


def test_04_ids_are_whole_and_not_zero(delivered: list[ReceivedSpan]) -> None:
    for span in delivered:
        assert re.fullmatch("(?!0{32})[0-9a-f]{32}", span.trace_id)
        assert re.fullmatch("(?!0{16})[0-9a-f]{16}", span.span_id)


def test_05_an_answer_in_json_to_protobuf_harms_nobody(story: Story) -> None:
    accepted = [r for r in story.langfuse.requests.all() if r.status == 200]
    assert {r.answer for r in accepted} == {'{"name":"otel-ingestion-job","data":{}}'}
    assert len({r.status for r in story.langfuse.requests.all()} - {200, 500, 503}) == 0


def test_05_nor_the_exporter_of_the_sdk() -> None:
    with LangfuseSink() as sink:
        credentials = base64.b64encode(f"{sink.public_key}:{sink.secret_key}".encode()).decode()
        exporter = OTLPSpanExporter(sink.base_url + PATH, headers={"Authorization": f"Basic {credentials}"})
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        provider.get_tracer("voicespan").start_span("Turn 1").end()
        assert [span.name for span in sink.spans.all()] == ["Turn 1"]
        provider.shutdown()


def test_06_what_langfuse_refused_for_now_arrives_and_once(story: Story) -> None:
    assert [r.status for r in story.langfuse.requests.all()].count(503) == 1
    assert render_tree(story.of("retried")) == "Chat\n  tool-search_nearby"


def test_06_what_langfuse_failed_at_is_lost_as_documented(story: Story) -> None:
    assert [r.status for r in story.langfuse.requests.all()].count(500) == 1
    missing = {s.span_id for s in story.at_jaeger("lost")} - {s.span_id for s in story.of("lost")}
    assert missing, "a 500 was tried again: the page says that it is not"
    page = (Path(__file__).parents[2] / "docs/pipeline.md").read_text()
    assert "any other refusal, also 500 and" in page


# --- each span ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", contract.SPAN_RULES, ids=lambda rule: rule.__name__)
def test_every_span_keeps(rule: Callable[[ReceivedSpan], None], delivered: list[ReceivedSpan]) -> None:
    for span in delivered:
        rule(span)


def test_07_the_known_user_and_the_same_name_and_tags_stand_on_every_span(story: Story) -> None:
    for name in (*VOICE, *CHATS):
        spans = story.of(name)
        contract.rule_07_same_for_all(spans)
        for span in spans:
            assert span.attributes["user.id"] == "user-1"
            assert span.attributes["langfuse.trace.name"] == "Voice Session"
            assert span.attributes["langfuse.trace.tags"] == ["voice", "simulator"]


def test_08_each_kind_of_span_has_its_type(delivered: list[ReceivedSpan]) -> None:
    kinds = {re.sub(r"[ -](\d+|\w+_\w+)$", "", span.name): row_of(span).type for span in delivered}
    assert kinds == {
        "WebSocket Session": "AGENT",
        "Live Connection": "SPAN",
        "Turn": "GENERATION",
        "tool": "TOOL",
        "Chat": "GENERATION",
    }


def test_13_only_spans_of_the_conversation_reach_langfuse(delivered: list[ReceivedSpan], story: Story) -> None:
    assert {span.scope for span in delivered} == {"voicespan"}
    assert "SERVER" not in {span.kind for span in delivered}
    others = {span.name for span in story.jaeger.spans.all()} - {span.name for span in delivered}
    assert others == {"Voice Session", "POST /v1/chat", "POST /v1/sessions/{session_id}/feedback"}


def test_14_every_span_arrives_once(delivered: list[ReceivedSpan]) -> None:
    contract.rule_14_once(delivered)


# --- each trace -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VOICE)
def test_15_one_root_to_a_call(name: str, story: Story) -> None:
    contract.rule_15_one_root(story.of(name))
    root = row_of(contract.root_of(story.of(name)))
    assert (root.trace_name, root.is_root) == ("Voice Session", True)
    assert (root.input is not None) == (root.output is not None) == (name != "quiet")


@pytest.mark.parametrize("name", CHATS)
def test_15_the_generation_is_a_chats_root(name: str, story: Story) -> None:
    assert render_tree(story.of(name)) == "Chat\n  tool-search_nearby"


def test_15_a_turn_that_is_a_trace_of_its_own_is_that_traces_root(story: Story) -> None:
    of_session = [span for span in story.langfuse.spans.all() if row_of(span).session_id == story.sessions["split"]]
    trees = {render_tree([s for s in of_session if s.trace_id == trace]) for trace in {s.trace_id for s in of_session}}
    assert trees == {
        "WebSocket Session\n  Live Connection 1",
        "Turn 1\n  tool-navigate_to_location",
        "Turn 2\n  tool-search_nearby",
    }
    assert {row_of(span).trace_name for span in of_session} == {"Voice Session"}
    stated = contract.root_of(story.of("split")).attributes["langfuse.observation.metadata.cost"]
    assert sum(row_of(span).total_cost or 0.0 for span in of_session) == pytest.approx(stated, abs=1e-9)


def test_16_the_tree_is_the_conversations_on_one_leg_and_the_whole_on_the_other(story: Story) -> None:
    below = [
        "Live Connection 1",
        "Turn 1",
        "  tool-navigate_to_location",
        "Turn 2",
        "  tool-search_nearby",
        "Turn 3",
        "Turn 4",
        "Turn 5",
        "  tool-navigate_to_location",
    ]
    assert render_tree(story.of("talk")).splitlines() == ["WebSocket Session", *("  " + line for line in below)]
    assert render_tree(story.at_jaeger("talk")).splitlines() == [
        "Voice Session",
        "  WebSocket Session",
        *("    " + line for line in below),
    ]


@pytest.mark.parametrize("name", VOICE)
def test_17_the_session_ends_last_and_arrives_however_the_call_ended(name: str, story: Story) -> None:
    contract.rule_17_the_session_ends_last(story.of(name))
    initiator = contract.root_of(story.of(name)).attributes["voicespan.session.close_initiator"]
    assert initiator == ("process" if name == "stopped" else "client")


def test_17_a_session_whose_process_was_killed_is_closed_by_the_next_start(story: Story) -> None:
    spans = story.of("killed")
    root = contract.root_of(spans)
    assert {"WebSocket Session", "Live Connection 1", "Turn 1", "Turn 2"} <= {span.name for span in spans}
    contract.rule_07_same_for_all(spans)
    contract.rule_15_one_root(spans)
    contract.rule_17_the_session_ends_last(spans)
    assert (row_of(root).level, bool(root.status_message)) == ("ERROR", True)
    assert root.attributes["voicespan.session.close_initiator"] == "process"
    assert row_of(root).metadata["turns"] in {2, 3}  # the third had begun, perhaps


def test_18_a_turn_arrives_while_the_call_goes_on(story: Story) -> None:
    assert named(story.of("talk"), "Turn 1").received_ns < story.hung_up_ns
    assert contract.root_of(story.of("talk")).received_ns > story.hung_up_ns


# --- money ----------------------------------------------------------------------------------------------------------


def test_19_audio_tokens_stand_in_buckets_of_their_own(story: Story) -> None:
    for span in turns(story.of("talk"))[:2]:
        row = row_of(span)
        assert {"input_text", "input_audio", "output_audio"} <= set(row.usage)
        # What Langfuse adds up by name is what was billed, each token once.
        assert row.input_usage + row.output_usage == row.usage["total"]


def test_20_every_generation_has_a_price(delivered: list[ReceivedSpan]) -> None:
    # A model nobody prices would have none; the default ones have.
    priced = [span for span in delivered if contract.details(span, "usage_details")]
    assert priced
    assert all(contract.details(span, "cost_details")["total"] > 0 for span in priced)


@pytest.mark.parametrize("name", VOICE)
def test_21_the_turns_cost_what_the_session_says(name: str, story: Story) -> None:
    contract.rule_21_session_cost(story.of(name))
    usage = json.loads(str(contract.root_of(story.of(name)).attributes["voicespan.session.usage_details"]))
    assert usage["total"] == sum(contract.details(span, "usage_details").get("total", 0) for span in story.of(name))


def test_21_langfuses_sum_of_a_session_is_the_sessions_own(story: Story) -> None:
    found = [row_of(span) for span in story.of("talk")]
    stated = contract.root_of(story.of("talk")).attributes["langfuse.observation.metadata.cost"]
    assert {row.session_id for row in found} == {story.sessions["talk"]}
    assert sum(row.total_cost or 0.0 for row in found) == pytest.approx(stated, abs=1e-9)


def test_23_the_model_is_a_bare_name(delivered: list[ReceivedSpan]) -> None:
    assert {row.model for row in map(row_of, delivered) if row.type == "GENERATION"} == {
        "gemini-3.8-live",
        "gemini-3.8-flash",
    }
    assert {row.model for row in map(row_of, delivered) if row.type != "GENERATION"} == {None}


# --- times ----------------------------------------------------------------------------------------------------------


def test_24_a_chat_by_text_has_no_first_audio(story: Story) -> None:
    assert row_of(named(story.of("chat"), "Chat")).completion_start_ms is None
    assert all(row_of(span).completion_start_ms for span in turns(story.of("talk"))[:2])


def test_25_langfuses_time_to_first_token_is_the_metrics_time_to_first_audio(story: Story) -> None:
    spans = [span for name in ("talk", "vanished", "stopped") for span in turns(story.of(name))]
    shown = [s for s in (row_of(span).time_to_first_token_s for span in spans) if s is not None]
    latest = [metric for metric in story.metrics if metric.name == "voicespan.time_to_first_audio"][-1]
    assert sum(point.count for point in latest.points) == len(shown) > 3
    assert sum(point.value for point in latest.points) == pytest.approx(sum(shown), abs=1e-3 * len(shown))


# --- content --------------------------------------------------------------------------------------------------------


def test_26_without_capture_nothing_that_was_said_leaves(story: Story) -> None:
    said = (ASKED, LOST, "Atlantis", "cathedral", "Cathedral", "cafe", "friendly guide", "Kluuvi")
    for name in ("quiet", "quiet chat"):
        contract.no_content(story.of(name), *said)
        contract.no_content(story.at_jaeger(name), *said)
    captured = "".join(span.raw.decode("latin-1") for span in [*story.of("talk"), *story.of("chat")])
    assert all(words in captured for words in (ASKED, LOST, "Cathedral", "friendly guide")), "these words can be found"


def test_27_a_turn_reads_as_a_chat(story: Story) -> None:
    for span, tool in zip(turns(story.of("talk")), ("navigate_to_location", "search_nearby"), strict=False):
        asked, answered = chat_messages(span, "input"), chat_messages(span, "output")
        assert asked[0]["role"] == "system"
        assert asked[-1]["role"] == "user"
        assert [message["role"] for message in answered] == ["assistant", "tool", "assistant"]
        assert row_of(span).tool_calls == (tool,)
        assert isinstance(answered[-1]["content"], str)


def test_27_a_chat_by_text_reads_as_one_too(story: Story) -> None:
    chat = named(story.of("chat"), "Chat")
    assert chat_messages(chat, "input")[-1] == {"role": "user", "content": ASKED}
    assert [message["role"] for message in chat_messages(chat, "output")] == ["assistant", "tool", "assistant"]
    assert row_of(chat).tool_calls == ("search_nearby",)


def test_27_a_tools_call_and_result_are_its_input_and_output(story: Story) -> None:
    tool = row_of(named(story.of("chat"), "tool-search_nearby"))
    assert json.loads(tool.input or "") == {"query": "cafe", "radius_m": 800}
    assert json.loads(tool.output or "")["places"]
    assert (tool.name, tool.metadata["tool_name"]) == ("tool-search_nearby", "search_nearby")


# --- status ---------------------------------------------------------------------------------------------------------


def test_29_a_tool_that_failed_is_an_error_with_words(story: Story) -> None:
    failed = [span for span in story.of("talk") if span.status == "ERROR"]
    assert [(span.name, span.status_message) for span in failed] == [
        ("tool-navigate_to_location", "no place called 'Atlantis' is known")
    ]
    assert row_of(failed[0]).level == "ERROR"
    quiet = [span for span in story.of("quiet") if span.status == "ERROR"]
    assert [(span.name, span.status_message) for span in quiet] == [("tool-navigate_to_location", "error")]


def test_29_a_barge_in_is_no_error(story: Story) -> None:
    interrupted = [s for s in turns(story.of("talk")) if s.attributes["voicespan.turn.end_reason"] == "interrupted"]
    assert [span.name for span in interrupted] == ["Turn 3"]
    assert row_of(interrupted[0]).level == "DEFAULT"


def test_30_the_environment_is_the_one_that_was_set(delivered: list[ReceivedSpan]) -> None:
    assert contract.ENVIRONMENT.fullmatch(ENVIRONMENT)
    assert {row_of(span).environment for span in delivered} == {ENVIRONMENT}
    assert {row_of(span).version for span in delivered} == {"0.1.0"}


def test_what_people_filter_by_stands_on_top_of_the_metadata(story: Story) -> None:
    metadata = row_of(contract.root_of(story.of("talk"))).metadata
    assert (metadata["turns"], metadata["tool_calls"], metadata["barge_ins"]) == (5, 3, 1)
    assert isinstance(metadata["cost"], float)


# --- scores ---------------------------------------------------------------------------------------------------------


def scores(story: Story, name: str) -> dict[str, float | str]:
    found = [score for score in story.langfuse.api.scores if score.session_id == story.sessions[name]]
    assert {score.id for score in found} == {f"{story.sessions[name]}-{score.name}" for score in found}
    assert {score.environment for score in found} <= {ENVIRONMENT}
    return {score.name: score.value for score in found}


def test_a_session_that_is_over_is_scored_by_how_its_turns_and_tools_ended(story: Story) -> None:
    found = scores(story, "talk")
    assert found.pop("user_feedback") == 1
    waited_s = [row_of(span).time_to_first_token_s for span in turns(story.of("talk"))]
    measured = [s for s in waited_s if s is not None]
    assert found == {
        "responsiveness": sum(s <= 1.5 for s in measured) / len(measured),
        "tool_success": pytest.approx(2 / 3),
        "interruption_rate": 0.2,
        "completion": 1.0,
    }


@pytest.mark.parametrize("name", ["vanished", "stopped", "quiet"])
def test_however_the_call_ended_its_scores_arrive(name: str, story: Story) -> None:
    assert {"responsiveness", "tool_success", "interruption_rate", "completion"} == set(scores(story, name))


def test_feedback_survives_that_langfuse_refused_it_for_now(story: Story) -> None:
    [score] = [score for score in story.langfuse.api.scores if score.name == "user_feedback"]
    assert (score.value, score.comment) == (1, "a friendly guide")
    requests = [r for r in story.langfuse.api_requests.all() if r.method == "POST"]
    posted = [body["id"] for r in requests for body in json.loads(r.body)]
    assert len(posted) > len(set(posted)), "what was refused was posted again"


# --- the SDK --------------------------------------------------------------------------------------------------------

PROCESSORS = """
import json
from opentelemetry import trace
from voicespan_server.app import create_app
app = create_app()
server = app.state.server
processors = trace.get_tracer_provider()._active_span_processor._span_processors
print(json.dumps([type(each).__name__ for each in processors]))
assert server.langfuse is not None
server.pipeline.shutdown()
server.langfuse.close()
"""


def test_31_the_langfuse_sdk_adds_no_processor_to_the_programs_provider(tmp_path: Path) -> None:
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "VOICESPAN_BACKEND": "gemini",
        "GEMINI_API_KEY": "none",
        "LANGFUSE_PUBLIC_KEY": "pk-lf-test",
        "LANGFUSE_SECRET_KEY": "sk-lf-test",
        "LANGFUSE_BASE_URL": "http://127.0.0.1:1",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROCESSORS], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    names = json.loads(done.stdout.splitlines()[-1])
    assert "StoreProcessor" in names
    assert not any("Langfuse" in name for name in names), names
