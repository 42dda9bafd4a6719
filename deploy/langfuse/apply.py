"""Brings a Langfuse project to what `project` says, by its public API, and touches nothing else in it.

Applied again it changes nothing. What goes by one of our names and differs is set back; what the user added stays, but
for tiles on our dashboard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from deploy.langfuse.project import ABOUT, COLUMNS, DASHBOARD, SCORE_CONFIGS, TILE, WIDGETS, ScoreConfig, Widget

from langfuse.api import LangfuseAPI
from langfuse.api import ScoreConfig as TheirScoreConfig
from langfuse.api.commons import ScoreConfigDataType
from langfuse.api.unstable.dashboard_widgets import (
    DashboardWidget,
    DashboardWidgetChartType,
    DashboardWidgetDimension,
    DashboardWidgetFilter,
    DashboardWidgetMetric,
    DashboardWidgetMetricAggregation,
    DashboardWidgetView,
)
from langfuse.api.unstable.dashboards import Dashboard, DashboardDefinition, DashboardPlacement_Widget
from langfuse.api.utils.pagination import MetaResponse

PAGE = 50


class Named(Protocol):
    """What everything has that is listed here."""

    @property
    def name(self) -> str:
        """What it is called."""


N_co = TypeVar("N_co", bound=Named, covariant=True)


class Page(Protocol[N_co]):
    """A part of a list."""

    @property
    def data(self) -> Sequence[N_co]:
        """The things."""

    @property
    def meta(self) -> MetaResponse:
        """How many pages there are."""


@dataclass
class Applied:
    """What was done: a line for each thing, and how many were not as they should be."""

    lines: list[str] = field(default_factory=list)
    changes: int = 0

    def note(self, done: str, kind: str, name: str) -> None:
        """That a thing was created, changed, or is as it should be."""
        self.lines.append(f"{done:<9} {kind} {name}")
        self.changes += done != "unchanged"


def apply(api: LangfuseAPI) -> Applied:
    """Create what is missing and change what differs.

    Raises:
        langfuse.api.core.ApiError: Langfuse refused something; what came before that is done.
    """
    applied = Applied()
    configs = by_name(lambda page: api.score_configs.get(page=page, limit=PAGE))
    for config in SCORE_CONFIGS:
        applied.note(_score_config(api, config, configs.get(config.name)), "score configuration", config.name)
    widgets = by_name(lambda page: api.unstable.dashboard_widgets.list(page=page, limit=PAGE))
    ids = []
    for widget in WIDGETS:
        done, widget_id = _widget(api, widget, widgets.get(widget.name))
        applied.note(done, "widget", widget.name)
        ids.append(widget_id)
    dashboards = by_name(lambda page: api.unstable.dashboards.list(page=page, limit=PAGE))
    applied.note(_dashboard(api, ids, dashboards.get(DASHBOARD)), "dashboard", DASHBOARD)
    return applied


def by_name(read: Callable[[int], Page[N_co]]) -> dict[str, N_co]:
    """All of a list, page by page; of several of a name the first, which Langfuse changed last."""
    found: dict[str, N_co] = {}
    number = 1
    while True:
        page = read(number)
        for each in page.data:
            found.setdefault(each.name, each)
        if number >= page.meta.total_pages:
            return found
        number += 1


def _score_config(api: LangfuseAPI, wanted: ScoreConfig, there: TheirScoreConfig | None) -> str:
    if there is None:
        api.score_configs.create(
            name=wanted.name,
            data_type=ScoreConfigDataType.NUMERIC,
            min_value=0.0,
            max_value=1.0,
            description=wanted.about,
        )
        return "created"
    if (there.min_value, there.max_value, there.description) == (0.0, 1.0, wanted.about):
        return "unchanged"
    api.score_configs.update(there.id, min_value=0.0, max_value=1.0, description=wanted.about)
    return "changed"


def _widget(api: LangfuseAPI, wanted: Widget, there: DashboardWidget | None) -> tuple[str, str]:
    view = DashboardWidgetView(wanted.view)
    dimensions = [DashboardWidgetDimension(field=wanted.by)] if wanted.by else []
    metrics = [DashboardWidgetMetric(measure=wanted.measure, agg=DashboardWidgetMetricAggregation(wanted.aggregation))]
    filters = [
        DashboardWidgetFilter(column=each.column, operator=each.operator, type=each.type, value=list(each.values))
        for each in wanted.filters
    ]
    chart = DashboardWidgetChartType(wanted.chart)
    if (
        there is not None
        and (there.view.value, there.chart_type, there.description) == (view.value, chart, wanted.about)
        and [each.field for each in there.dimensions] == [each.field for each in dimensions]
        and [(each.measure, each.agg) for each in there.metrics] == [(each.measure, each.agg) for each in metrics]
        and [_plain(each) for each in there.filters] == [_plain(each) for each in filters]
    ):
        return "unchanged", there.id
    widgets = api.unstable.dashboard_widgets
    write = partial(widgets.create, name=wanted.name) if there is None else partial(widgets.update, there.id)
    written = write(
        description=wanted.about,
        view=view,
        dimensions=dimensions,
        metrics=metrics,
        filters=filters,
        chart_type=chart,
    )
    return "created" if there is None else "changed", written.id


def _plain(each: DashboardWidgetFilter) -> tuple[str, str, str, tuple[str, ...]]:
    return each.column, each.operator, each.type, tuple(each.value or ())


def _dashboard(api: LangfuseAPI, widget_ids: Sequence[str], there: Dashboard | None) -> str:
    tiles = [
        DashboardPlacement_Widget(
            id=f"voicespan-{number + 1}",
            widget_id=widget_id,
            x=number * TILE % COLUMNS,
            y=number * TILE // COLUMNS * TILE,
            width=TILE,
            height=TILE,
        )
        for number, widget_id in enumerate(widget_ids)
    ]
    if there is None:
        api.unstable.dashboards.create(name=DASHBOARD, description=ABOUT, definition=DashboardDefinition(widgets=tiles))
        return "created"
    if there.description == ABOUT and list(there.definition.widgets) == tiles:
        return "unchanged"
    api.unstable.dashboards.update(there.id, description=ABOUT, definition=DashboardDefinition(widgets=tiles))
    return "changed"
