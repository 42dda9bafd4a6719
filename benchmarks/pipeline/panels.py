"""Grafana's dashboards as Prometheus sees them: what each panel asks, and what it would show."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.backends import PrometheusProcess, Sample

DASHBOARDS = Path(__file__).resolve().parents[2] / "deploy/grafana/dashboards"


@dataclass(frozen=True)
class PanelQuery:
    """One expression of a panel, with Grafana's variables still in it, and the legend of its series."""

    expr: str
    legend: str
    exemplars: bool = False

    def filled(self, *, job: str = ".*", window: str = "30s", span: str = "5m") -> str:
        """The expression as Grafana would send it, for one job and for all models."""
        variables = {"$job": job, "$model": ".*", "$__rate_interval": window, "$__range": span}
        return re.sub(r"\$\w+", lambda found: variables[found[0]], self.expr)

    def name(self, labels: dict[str, str]) -> str:
        """What the legend calls a series."""
        return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), self.legend).strip()


@dataclass(frozen=True)
class BoardPanel:
    """A panel's place and looks, and what it asks. The grid is 24 wide; heights are rows of 30 pixels."""

    board: str
    title: str
    why: str
    kind: str
    stacked: bool
    unit: str
    x: int
    y: int
    width: int
    height: int
    queries: tuple[PanelQuery, ...]


@dataclass(frozen=True)
class BoardRow:
    """The heading above some panels."""

    title: str
    y: int


@dataclass(frozen=True)
class GrafanaBoard:
    """A dashboard's file, read."""

    uid: str
    title: str
    why: str
    rows: tuple[BoardRow, ...]
    panels: tuple[BoardPanel, ...]


def boards() -> list[GrafanaBoard]:
    """The committed dashboards."""
    return [_board(json.loads(file.read_text())) for file in sorted(DASHBOARDS.glob("*.json"))]


def values(prometheus: PrometheusProcess, panel: BoardPanel, *, job: str = ".*") -> list[list[Sample]]:
    """What each query of a panel gives now, without what is not a number."""
    answers = [prometheus.query(query.filled(job=job)) for query in panel.queries]
    return [[sample for sample in answer if not math.isnan(sample.value)] for answer in answers]


def by_legend(panel: BoardPanel, answers: Sequence[Sequence[Sample]]) -> dict[str, float]:
    """The values by what the legend calls them; the greatest where several are called the same."""
    found: dict[str, float] = {}
    for query, answer in zip(panel.queries, answers, strict=True):
        for sample in answer:
            name = query.name(sample.labels)
            found[name] = max(sample.value, found.get(name, -math.inf))
    return found


def _board(board: dict[str, Any]) -> GrafanaBoard:
    rows = [BoardRow(p["title"], p["gridPos"]["y"]) for p in board["panels"] if p["type"] == "row"]
    panels = [_panel(board["uid"], p) for p in board["panels"] if p["type"] != "row"]
    return GrafanaBoard(board["uid"], board["title"], board["description"], tuple(rows), tuple(panels))


def _panel(board: str, panel: dict[str, Any]) -> BoardPanel:
    place, defaults = panel["gridPos"], panel["fieldConfig"]["defaults"]
    return BoardPanel(
        board=board,
        title=panel["title"],
        why=panel.get("description", ""),
        kind=panel["type"],
        stacked="stacking" in defaults.get("custom", {}),
        unit=defaults["unit"],
        x=place["x"],
        y=place["y"],
        width=place["w"],
        height=place["h"],
        queries=tuple(
            PanelQuery(target["expr"], target["legendFormat"], target.get("exemplar", False))
            for target in panel["targets"]
        ),
    )
