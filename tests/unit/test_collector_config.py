"""What otel-collector.yaml must hold, also where no collector is at hand to validate it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from voicespan import conventions
from voicespan_server.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "otel-collector.yaml").read_text()
MANIFEST = yaml.safe_load((REPOSITORY / "deploy/collector/builder.yaml").read_text())
VARIABLE = re.compile(r"\$\{env:([A-Z_]+)(:-(?P<default>[^}]*))?\}")
LEGS = ("traces/jaeger", "traces/langfuse")


def with_defaults(text: str) -> str:
    return VARIABLE.sub(lambda match: match["default"] or "", text)


CONFIG: dict[str, Any] = yaml.safe_load(with_defaults(TEXT))
PIPELINES: dict[str, dict[str, list[str]]] = CONFIG["service"]["pipelines"]
SAMPLING: dict[str, Any] = yaml.safe_load(with_defaults((REPOSITORY / "deploy/collector/sampling.yaml").read_text()))


def test_every_variable_has_a_default() -> None:
    assert [match[1] for match in VARIABLE.finditer(TEXT) if not match["default"]] == []
    assert "${" not in VARIABLE.sub("", TEXT)


def test_every_variable_is_explained_to_those_who_set_it() -> None:
    names = {match[1] for match in VARIABLE.finditer(TEXT)}
    explained = (REPOSITORY / "docs/pipeline.md").read_text()
    assert [name for name in sorted(names) if f"`{name}`" not in explained] == []


@pytest.mark.parametrize("name", ["agent", "gateway", "kafka", "no-langfuse", "sampling"])
def test_a_shapes_variables_have_defaults_and_are_explained(name: str) -> None:
    text = (REPOSITORY / f"deploy/collector/{name}.yaml").read_text()
    explained = (REPOSITORY / "docs/operations.md").read_text()
    assert f"deploy/collector/{name}.yaml" in explained
    assert [match[1] for match in VARIABLE.finditer(text) if not match["default"]] == []
    own = {match[1] for match in VARIABLE.finditer(text)} - {match[1] for match in VARIABLE.finditer(TEXT)}
    assert [variable for variable in sorted(own) if f"`{variable}`" not in explained] == []


def test_pipelines_use_what_is_defined_and_leave_no_processor_unused() -> None:
    connectors = set(CONFIG["connectors"])
    for name, pipeline in PIPELINES.items():
        assert set(pipeline["receivers"]) <= set(CONFIG["receivers"]) | connectors, name
        assert set(pipeline["processors"]) <= set(CONFIG["processors"]), name
        assert set(pipeline["exporters"]) <= set(CONFIG["exporters"]) | connectors, name
    assert {each for pipeline in PIPELINES.values() for each in pipeline["processors"]} == set(CONFIG["processors"])
    for connector in connectors:
        assert [p for p in PIPELINES.values() if connector in p["exporters"]], connector
        assert [p for p in PIPELINES.values() if connector in p["receivers"]], connector


def test_extensions_that_are_defined_are_started() -> None:
    assert sorted(CONFIG["service"]["extensions"]) == sorted(CONFIG["extensions"])


def test_components_go_by_their_present_names() -> None:
    old = {"otlphttp", "spanmetrics", "servicegraph", "loadbalancing", "prometheusremotewrite", "logging"}
    used = {name.split("/")[0] for kind in ("processors", "exporters", "connectors") for name in CONFIG[kind]}
    assert used & old == set()
    assert "otlp" not in {name.split("/")[0] for name in CONFIG["exporters"]}  # otlp_grpc now


def test_the_binary_has_every_component() -> None:
    modules = {
        "health_check": "healthcheckextension",
        "basicauth": "basicauthextension",
        "file_storage": "filestorage",
        "otlp": "otlpreceiver",
        "memory_limiter": "memorylimiterprocessor",
        "batch": "batchprocessor",
        "filter": "filterprocessor",
        "redaction": "redactionprocessor",
        "transform": "transformprocessor",
        "tail_sampling": "tailsamplingprocessor",
        "forward": "forwardconnector",
        "debug": "debugexporter",
        "nop": "nopexporter",
        "otlp_grpc": "otlpexporter",
        "otlp_http": "otlphttpexporter",
    }
    kinds = ("extensions", "receivers", "processors", "connectors", "exporters")
    built = {line["gomod"].split()[0].split("/")[-1] for kind in kinds for line in MANIFEST[kind]}
    named = {name.split("/")[0] for kind in kinds for config in (CONFIG, SAMPLING) for name in config.get(kind, ())}
    assert {modules[name] for name in named} <= built


def test_all_its_modules_are_of_one_release() -> None:
    versions = {
        line["gomod"].split()[1] for kind in MANIFEST if isinstance(MANIFEST[kind], list) for line in MANIFEST[kind]
    }
    assert versions == {f"v{MANIFEST['dist']['version']}", "v1.64.0"}


@pytest.mark.parametrize("leg", LEGS)
def test_a_leg_starts_with_the_bulkhead(leg: str) -> None:
    assert PIPELINES[leg]["processors"][0] == "batch/bulkhead"
    assert CONFIG["processors"]["batch/bulkhead"] == {"timeout": "0s"}


def test_what_may_refuse_or_mask_stands_before_the_fan_out() -> None:
    way_in = PIPELINES["traces/in"]["processors"]
    assert way_in[0] == "memory_limiter"
    assert {"filter/invalid_ids", "redaction/secrets", "transform/secrets_in_status", "redaction/pii"} <= set(way_in)
    for leg in LEGS:
        assert "memory_limiter" not in PIPELINES[leg]["processors"]
    for name in ("metrics", "logs"):
        assert PIPELINES[name]["processors"][:2] == ["memory_limiter", "redaction/secrets"]


def test_no_leg_can_block_another() -> None:
    for name, exporter in CONFIG["exporters"].items():
        queue = (exporter or {}).get("sending_queue", {})
        assert queue.get("block_on_overflow", False) is False, name


def test_langfuse_is_spoken_to_as_it_demands() -> None:
    exporter = CONFIG["exporters"]["otlp_http/langfuse"]
    assert exporter["endpoint"].endswith("/api/public/otel")
    assert exporter["compression"] == "gzip"
    assert exporter["headers"] == {"x-langfuse-ingestion-version": "4"}
    assert exporter["auth"] == {"authenticator": "basicauth/langfuse"}
    assert exporter["retry_on_failure"]["max_elapsed_time"] == "0s"
    queue = exporter["sending_queue"]
    assert queue["storage"] in CONFIG["extensions"]
    assert queue["batch"]["max_size"] <= 4 * 2**20
    assert queue["queue_size"] < CONFIG["extensions"]["file_storage/queue"]["max_size"]
    assert PIPELINES["traces/langfuse"]["exporters"] == ["otlp_http/langfuse"]
    assert "otlp_http/langfuse" not in [*PIPELINES["metrics"]["exporters"], *PIPELINES["logs"]["exporters"]]


def test_a_span_leaves_within_the_second_in_which_it_came() -> None:
    for name in ("otlp_http/langfuse", "otlp_grpc/jaeger"):
        assert CONFIG["exporters"][name]["sending_queue"]["batch"]["flush_timeout"] == "200ms"


def test_the_agent_masks_what_the_collector_masks() -> None:
    agent = yaml.safe_load(with_defaults((REPOSITORY / "deploy/collector/agent.yaml").read_text()))
    assert agent["processors"]["redaction/secrets"] == CONFIG["processors"]["redaction/secrets"]
    for pipeline in agent["service"]["pipelines"].values():
        assert pipeline["processors"] == ["memory_limiter", "redaction/secrets"]


def test_sampling_is_the_last_thing_that_happens_on_jaegers_leg_and_on_no_other() -> None:
    assert SAMPLING["service"]["pipelines"] == {
        "traces/jaeger": {"processors": [*PIPELINES["traces/jaeger"]["processors"], "tail_sampling/jaeger"]}
    }


def test_sampling_waits_for_the_longest_call_and_remembers_more_than_it_holds() -> None:
    sampler = SAMPLING["processors"]["tail_sampling/jaeger"]
    assert int(sampler["decision_wait"].removesuffix("m")) * 60 > Settings.model_fields["max_session_s"].default
    assert min(sampler["decision_cache"].values()) >= 10 * sampler["num_traces"]


def test_sampling_goes_by_the_names_that_the_library_writes() -> None:
    policies = SAMPLING["processors"]["tail_sampling/jaeger"]["policies"]
    assert [policy["name"] for policy in policies] == ["error", "stall", "slow", "dear", "share"]
    asked = set(re.findall(r'span\.attributes\["(.+?)"\]', repr(policies)))
    assert len(asked) == 5
    assert asked <= set(conventions.ATTRIBUTES)


def test_status_and_name_are_masked_for_the_same_secrets_as_the_attributes() -> None:
    statements = CONFIG["processors"]["transform/secrets_in_status"]["trace_statements"]
    # Here a group, there none: OTTL's replacement refers to no group.
    patterns = "|".join(CONFIG["processors"]["redaction/secrets"]["blocked_values"]).replace("(?:key|", "(key|")
    escaped = patterns.replace("\\", "\\\\")
    assert statements == [
        f'replace_pattern({field}, "{escaped}", "****")' for field in ("span.status.message", "span.name")
    ]


def test_the_projection_goes_by_the_names_that_the_library_writes() -> None:
    processors = CONFIG["processors"]
    dropped = "\n".join(processors["filter/genai_projection"]["trace_conditions"])
    shaped = "\n".join(processors["transform/genai_shape"]["trace_statements"])
    for name in (conventions.SESSION_ID, conventions.LF_TRACE_NAME, conventions.LF_TYPE, conventions.OPERATION_NAME):
        assert f'span.attributes["{name}"] == nil' in dropped
    assert f'span.attributes["{conventions.ENTRY}"] == true' in shaped
    assert f'delete_key(span.attributes, "{conventions.TOOL_NAME}")' in shaped


def test_jaeger_and_loki_get_no_attribute_that_the_library_calls_content() -> None:
    strip = CONFIG["processors"]["transform/strip_content"]
    statements = [*(s for group in strip["trace_statements"] for s in group["statements"]), *strip["log_statements"]]
    statements = [statement for statement in statements if statement.startswith("delete_matching_keys(")]
    patterns = {match for s in statements for match in re.findall(r'"(\^.*\$)"', s)}
    assert len(statements) == 3
    (pattern,) = patterns
    content = re.compile(pattern.replace("\\\\", "\\"))
    captured = [a.name for a in conventions.ATTRIBUTES.values() if a.brief.endswith("opt-in")]
    assert len(captured) >= 5
    assert [name for name in captured if not content.match(name)] == []
    kept = [a.name for a in conventions.ATTRIBUTES.values() if a.name not in captured]
    assert [name for name in kept if content.match(name)] == []
    for pipeline in ("traces/jaeger", "logs"):
        assert "transform/strip_content" in PIPELINES[pipeline]["processors"]


def test_ports_are_loopback_and_usual_unless_told_otherwise() -> None:
    protocols = CONFIG["receivers"]["otlp"]["protocols"]
    assert protocols["grpc"]["endpoint"] == "127.0.0.1:4317"
    assert protocols["http"]["endpoint"] == "127.0.0.1:4318"
    assert CONFIG["extensions"]["health_check"]["endpoint"] == "127.0.0.1:13133"
    (reader,) = CONFIG["service"]["telemetry"]["metrics"]["readers"]
    prometheus = reader["pull"]["exporter"]["prometheus"]
    assert (prometheus["host"], prometheus["port"]) == ("127.0.0.1", 8888)
    assert all(prometheus[key] for key in ("without_scope_info", "without_type_suffix", "without_units"))
