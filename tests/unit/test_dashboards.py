"""The dashboards and the alerts, as far as they can be looked at without Prometheus."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from benchmarks.pipeline.incidents import INCIDENTS
from benchmarks.pipeline.panels import BoardPanel, boards
from deploy.grafana.source import __main__ as generator
from deploy.grafana.source.names import label, series

from voicespan import conventions as c

REPOSITORY = Path(__file__).resolve().parents[2]
GRAFANA = REPOSITORY / "deploy/grafana"
BOARDS = boards()
PANELS = [panel for board in BOARDS for panel in board.panels]
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((REPOSITORY / "deploy/prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
TESTS = yaml.safe_load((REPOSITORY / "deploy/prometheus/alerts_test.yml").read_text())["tests"]
EXPRESSIONS = [query.expr for panel in PANELS for query in panel.queries] + [rule["expr"] for rule in RULES]


def overlap(one: BoardPanel, other: BoardPanel) -> bool:
    apart = one.x + one.width <= other.x or other.x + other.width <= one.x
    return not apart and one.y < other.y + other.height and other.y < one.y + one.height


def test_the_files_are_what_the_generator_writes() -> None:
    committed = {file.name: file.read_text() for file in (GRAFANA / "dashboards").glob("*.json")}
    assert committed == generator.files(), "run: scripts/build-dashboards"


def test_grafana_is_told_where_they_are() -> None:
    [provider] = yaml.safe_load((GRAFANA / "provisioning/dashboards/dashboards.yaml").read_text())["providers"]
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]["grafana"]["volumes"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in compose


def test_panels_lie_in_the_grid_and_on_no_other() -> None:
    for board in BOARDS:
        assert len({panel.title for panel in board.panels}) == len(board.panels)
        for number, panel in enumerate(board.panels):
            assert panel.x + panel.width <= 24, panel.title
            assert [other.title for other in board.panels[:number] if overlap(panel, other)] == [], panel.title


def test_every_metric_of_ours_is_on_a_panel() -> None:
    shown = " ".join(query.expr for panel in PANELS for query in panel.queries)
    # The wait, the answer and the gap say more than the whole turn does.
    left_out = {c.METRIC_TURN_DURATION}
    assert {
        name for name in c.METRICS if not re.search(rf"\b{series(name)}(_bucket|_sum|_count)?\b", shown)
    } == left_out


def test_they_ask_for_nothing_that_is_not_told() -> None:
    known = {series(name) for name in c.METRICS}
    labels = {label(attribute) for metric in c.METRICS.values() for attribute in metric.attributes}
    labels |= {label(attribute) for attribute in c.METRIC_ATTRIBUTES}
    for expression in EXPRESSIONS:
        for name in re.findall(r"\b((?:voicespan|gen_ai)_\w+)[{[]", expression):
            assert re.sub(r"_(bucket|sum|count)$", "", name) in known, expression
        for name in re.findall(r"\b((?:voicespan|gen_ai)_\w+)(?:=|!)", expression):
            assert name in labels, expression
    for panel in PANELS:
        for query in panel.queries:
            for name in re.findall(r"\{\{(\w+)\}\}", query.legend):
                assert name in query.expr, f"{panel.title}: {name} is summed away"


def test_every_alert_has_a_page_and_a_dashboard() -> None:
    headings = re.findall(r"^### (\w+)$", (REPOSITORY / "docs/runbooks.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(rule["alert"] for rule in RULES)
    uids = {board.uid for board in BOARDS}
    assert [rule["alert"] for rule in RULES if rule["annotations"]["dashboard"] not in uids] == []
    assert {rule["labels"]["severity"] for rule in RULES} == {"critical", "warning"}


def test_a_runbook_names_panels_and_dashboards_that_there_are() -> None:
    text = re.sub(r"\s+", " ", (REPOSITORY / "docs/runbooks.md").read_text())
    assert set(re.findall(r'"([A-Z][^"]+)"', text)) - {panel.title for panel in PANELS} == set()
    assert set(re.findall(r"\*(Voice: [^*]+)\*", text)) - {board.title for board in BOARDS} == set()


def test_rates_are_there_for_programs_that_tell_their_metrics_once_a_minute() -> None:
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/datasources.yaml").read_text())["datasources"]
    [prometheus] = [source for source in sources if source["type"] == "prometheus"]
    assert prometheus["jsonData"]["timeInterval"] == "60s"  # OpenTelemetry's default


def test_promtool_has_a_case_for_every_alert() -> None:
    expected = Counter(
        name
        for test in TESTS
        for case in test["promql_expr_test"]
        for sample in case["exp_samples"]
        for name in re.findall(r'alertname="(\w+)"', sample["labels"])
    )
    assert {rule["alert"] for rule in RULES} == set(expected)


def test_every_incident_has_an_alert_and_a_panel_on_its_dashboard() -> None:
    boards_of = {rule["alert"]: rule["annotations"]["dashboard"] for rule in RULES}
    titles = {(panel.board, panel.title) for panel in PANELS}
    assert len({incident.alert for incident in INCIDENTS}) == len(INCIDENTS) >= 10
    for incident in INCIDENTS:
        assert incident.panel in titles
        assert boards_of[incident.alert] == incident.panel[0], incident.name


def test_exemplars_lead_to_the_trace_and_to_langfuse() -> None:
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/datasources.yaml").read_text())["datasources"]
    [prometheus] = [source for source in sources if source["type"] == "prometheus"]
    jaeger, langfuse = prometheus["jsonData"]["exemplarTraceIdDestinations"]
    assert (jaeger["name"], jaeger["datasourceUid"]) == ("trace_id", "jaeger")
    assert langfuse["url"].endswith("/traces/$${__value.raw}")
    with_exemplars = {panel.title for panel in PANELS if any(query.exemplars for query in panel.queries)}
    assert {"Time to first audio", "Duration, p95", "Model's part of the wait"} <= with_exemplars
