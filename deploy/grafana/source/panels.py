"""A dashboard as rows of panels, and its making with Grafana's builders. The looks are decided here, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model

PROMETHEUS = model.DataSourceRef(type_val="prometheus", uid="prometheus")
HEIGHT = 8
STAT_HEIGHT = 4

Kind = Literal["timeseries", "stacked", "stat"]


@dataclass(frozen=True)
class Query:
    """A PromQL expression and the legend of what it gives; of a histogram, with exemplars that lead to traces."""

    expr: str
    legend: str
    exemplars: bool = False


@dataclass(frozen=True)
class Panel:
    """What one rectangle shows. `why` says how to read it; `unit` is Grafana's; `width` is in 24ths of the page."""

    title: str
    why: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: Kind = "timeseries"
    width: int = 12
    ceiling: float | None = None


@dataclass(frozen=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Board:
    """A dashboard; `uid` is its address and the name of its file."""

    uid: str
    title: str
    why: str
    rows: Sequence[Row]
    by_model: bool = True


def build(board: Board, others: Sequence[Board]) -> model.Dashboard:
    """The dashboard as Grafana loads it, with links to the others."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.why)
        .tags(["voicespan"])
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("30s")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .with_variable(_choice("job", "Service", "label_values(voicespan_telemetry_errors_total, job)"))
    )
    if board.by_model:
        models = 'label_values(voicespan_turns_total{job=~"$job"}, gen_ai_request_model)'
        made.with_variable(_choice("model", "Model", models))
    made.annotation(
        dashboard.AnnotationQuery()
        .name("Alerts")
        .datasource(PROMETHEUS)
        .icon_color("red")
        .enable(True)
        .expr('ALERTS{alertstate="firing"}')
    )
    for other in others:
        if other is not board:
            made.link(
                dashboard.DashboardLink(other.title)
                .type(model.DashboardLinkType.LINK)
                .url(f"/d/{other.uid}")
                .keep_time(True)
                .include_vars(True)
            )
    number = 0
    for row in board.rows:
        made.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            number += 1
            made.with_panel(_panel(panel).id(number))
    return made.build()


def _choice(name: str, title: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(title)
        .datasource(PROMETHEUS)
        .query(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(model.VariableOption(selected=True, text="All", value="$__all"))
    )


def _panel(panel: Panel) -> timeseries.Panel | stat.Panel:
    made: timeseries.Panel | stat.Panel
    if panel.kind == "stat":
        reduce = common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False)
        made = stat.Panel().reduce_options(reduce).color_mode(common_model.BigValueColorMode.NONE).height(STAT_HEIGHT)
    else:
        made = timeseries.Panel().height(HEIGHT).line_width(1).fill_opacity(10).min(0)
        made.show_points(common_model.VisibilityMode.NEVER)
        made.tooltip(common.VizTooltipOptions().mode(common_model.TooltipDisplayMode.MULTI))
        if panel.ceiling is not None:
            made.max(panel.ceiling)
        if panel.kind == "stacked":
            made.stacking(common.StackingConfig().mode(common_model.StackingMode.NORMAL)).fill_opacity(40)
    made.title(panel.title).description(panel.why).unit(panel.unit).datasource(PROMETHEUS).span(panel.width)
    for number, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + number))
        if panel.kind == "stat":
            target.instant()
        else:
            target.range().exemplar(query.exemplars)
        made.with_target(target)
    return made
