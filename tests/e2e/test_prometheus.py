"""Real calls and incidents in a real Prometheus: what the panels show, what fires. `make pipeline` plays more of it."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from benchmarks.pipeline import play
from benchmarks.pipeline.incidents import INCIDENTS
from benchmarks.pipeline.panels import boards
from benchmarks.pipeline.render import page

from support.backends import JaegerSpan
from support.collector import REPOSITORY
from support.series import (
    APPLICATION_LABELS,
    COLLECTOR_LABELS,
    PROCESS_LABELS,
    Series,
    label_names,
    label_values,
    of_one_call,
    series_of,
)
from support.stack import Binaries, Stack
from voicespan_simulator.process import SimulatorProcess

pytestmark = [pytest.mark.e2e, pytest.mark.collector]
RULES = REPOSITORY / "deploy/prometheus"


@dataclass
class Seen:
    """What was read while everything ran."""

    played: play.Played
    exemplars: dict[str, list[JaegerSpan]] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)
    series: set[str] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)
    kept: set[Series] = field(default_factory=set)


@pytest.fixture(scope="module")
def seen(collector_binary: Path, jaeger_binary: Path, prometheus_binary: Path, simulator: SimulatorProcess) -> Seen:
    exemplars: dict[str, list[JaegerSpan]] = {}
    pages: dict[str, str] = {}
    series: set[str] = set()
    labels: set[str] = set()
    kept: set[Series] = set()
    binaries = Binaries(collector_binary, jaeger_binary, prometheus_binary)
    with Stack(binaries, faster=play.FASTER) as stack:

        def read() -> None:
            for histogram in (
                "voicespan_time_to_first_audio_seconds_bucket",
                "gen_ai_execute_tool_duration_seconds_bucket",
            ):
                ids = [e["trace_id"] for e in stack.prometheus.exemplars(f'{histogram}{{job="{play.SERVICE}"}}')]
                exemplars[histogram] = stack.jaeger.trace(ids[-1]) if ids else []
            series.update(stack.prometheus.get("/api/v1/label/__name__/values")["data"])
            labels.update(stack.prometheus.get("/api/v1/labels")["data"])
            for each in stack.prometheus.get("/api/v1/series", **{"match[]": '{__name__=~".+"}'})["data"]:
                kept.add(series_of(each.pop("__name__"), each))
            for board in boards():
                pages[board.uid] = page(board, stack.prometheus, span_s=120)

        played = play.run(stack, simulator, calls=6, at_once=3, everything_shown=read)
    return Seen(played, exemplars, pages, series, labels, kept)


def test_everything_arrives_everywhere(seen: Seen) -> None:
    assert seen.played.calls.turns == 12
    assert [(a.destination, a.arrived) for a in seen.played.arrivals if a.arrived != a.owed] == []


def test_every_query_of_every_panel_gives_something(seen: Seen) -> None:
    assert len(seen.played.panels) > 50
    assert [(p.board, p.title, shown) for p, shown, full in seen.played.panels if not full] == []


@pytest.mark.parametrize("name", [incident.name for incident in INCIDENTS])
def test_an_incident_fires_its_own_alert_and_shows_on_its_panel(seen: Seen, name: str) -> None:
    [alarm] = [alarm for alarm in seen.played.alarms if alarm.incident.name == name]
    assert alarm.fired == {alarm.incident.alert}
    assert alarm.good, f"{alarm.series}: {alarm.now}, usually {alarm.usual}"


def test_a_clean_day_fires_nothing(seen: Seen) -> None:
    assert seen.played.told["clean-day"] > 20
    assert seen.played.clean == frozenset()


def test_exemplars_lead_to_the_trace_of_a_real_call(seen: Seen) -> None:
    for histogram, spans in seen.exemplars.items():
        assert "WebSocket Session" in {span.name for span in spans}, histogram
    assert any(span.name.startswith("tool-") for span in seen.exemplars["gen_ai_execute_tool_duration_seconds_bucket"])


def test_a_dashboard_can_be_looked_at_without_grafana(seen: Seen) -> None:
    for board in boards():
        text = seen.pages[board.uid]
        assert [panel.title for panel in board.panels if panel.title not in text.replace("&#x27;", "'")] == []
        assert "no data" not in text, board.uid
        assert text.count("<polyline") >= sum(panel.kind == "timeseries" for panel in board.panels)


def test_the_alerts_watch_series_that_are_there(seen: Seen) -> None:
    rules = yaml.safe_load((RULES / "alerts.yml").read_text())
    watched = {
        name
        for group in rules["groups"]
        for rule in group["rules"]
        for name in re.findall(r"\b(?:voicespan|gen_ai|otelcol)_\w+", rule["expr"])
    }
    # These two are told once there is something to tell; test_outages.py has both.
    assert watched - seen.series - seen.labels == {
        "otelcol_exporter_enqueue_failed_spans",
        "otelcol_processor_memory_limiter_refused_spans",
    }


def test_what_is_kept_has_labels_from_a_closed_list_and_nobodys_id(seen: Seen) -> None:
    ours = {each for each in seen.kept if not each.name.startswith("ALERTS")}
    of_prometheus = {"job", "instance", "le"}
    assert label_names(ours) - APPLICATION_LABELS - COLLECTOR_LABELS - PROCESS_LABELS - of_prometheus == set()
    values = label_values(ours, but={"instance", *PROCESS_LABELS})
    assert [value for value in values if of_one_call(value) or value in seen.played.calls.trace_ids] == []


def test_a_service_has_five_hundred_series_at_the_most_and_the_collector_a_thousand(seen: Seen) -> None:
    by_job = Counter(dict(each.labels).get("job", "") for each in seen.kept)
    assert by_job.pop("otel-collector") <= 1000
    assert len(by_job) > 10
    assert {job: count for job, count in by_job.items() if count > 500} == {}


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        pytest.param("7x60", [], id="an hour without a call shows nothing, and no NaN"),
        pytest.param("0+7x60", [{"labels": "{}", "value": 0}], id="of what did not happen there is 0 per turn"),
    ],
)
def test_numbers_at_a_glance_are_numbers(promtool: Path, tmp_path: Path, told: str, shown: list[object]) -> None:
    stats = [panel for board in boards() for panel in board.panels if panel.kind == "stat"]
    expressions = {p.title: p.queries[0].filled(span="30m") for p in stats}
    stalls = expressions["Answers that never came, per turn"]
    series = ["voicespan_turns_total", "voicespan_session_duration_seconds_count"]
    series += ["gen_ai_execute_tool_duration_seconds_count", "voicespan_time_to_first_audio_seconds_bucket"]
    labels = 'job="shop", gen_ai_request_model="m", gen_ai_token_type="input", le="+Inf"'
    test = {
        "interval": "1m",
        "input_series": [{"series": f"{name}{{{labels}}}", "values": told} for name in series],
        "promql_expr_test": [
            # Only what is not a number differs from itself.
            *({"expr": f"count(({e}) != ({e}))", "eval_time": "1h", "exp_samples": []} for e in expressions.values()),
            {"expr": stalls, "eval_time": "1h", "exp_samples": shown},
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [test]}))
    command = [promtool, "test", "rules", tmp_path / "test.yml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_fire_for_what_they_should(promtool: Path) -> None:
    for command in (
        ["check", "rules", "--lint=all", "--lint-fatal", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
    ):
        done = subprocess.run([promtool, *command], cwd=RULES, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
