"""A dashboard as one HTML page, laid out as Grafana lays it out, with the values that Prometheus has. Not Grafana."""

from __future__ import annotations

import html
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.pipeline.panels import BoardPanel, GrafanaBoard

from support.backends import PrometheusProcess

COLUMN, ROW = 60, 30  # pixels of a grid cell
COLOURS = ("#5794f2", "#ff9830", "#73bf69", "#f2495c", "#b877d9", "#fade2a", "#8ab8ff", "#ca95e5", "#96d98d", "#ffb357")
POINTS = 60
MAX_LEGEND = 6

_STYLE = """
body { margin: 16px; background: #111217; color: #ccccdc; font: 13px system-ui, sans-serif; }
h1 { font-size: 20px; margin: 0 0 4px; } p { margin: 0 0 12px; color: #9a9aa8; }
main { position: relative; width: 1440px; }
section, h2 { position: absolute; box-sizing: border-box; }
h2 { font-size: 14px; margin: 0; padding: 6px 2px; }
section { background: #181b1f; border: 1px solid #2c3235; border-radius: 2px; padding: 6px 8px; overflow: hidden; }
h3 { font-size: 13px; font-weight: 500; margin: 0 0 2px; white-space: nowrap; overflow: hidden; }
.stat { font-size: 30px; text-align: center; padding-top: 12px; }
.none { color: #f2495c; text-align: center; padding-top: 12px; }
.legend { font-size: 11px; color: #9a9aa8; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.legend i { display: inline-block; width: 10px; height: 3px; margin: 0 4px 3px 0; }
.legend span { margin-right: 10px; }
svg text { fill: #9a9aa8; font-size: 10px; }
"""


@dataclass(frozen=True)
class Line:
    """A series: its name, and its points as (seconds since the epoch, value)."""

    name: str
    points: tuple[tuple[float, float], ...]


def page(board: GrafanaBoard, prometheus: PrometheusProcess, *, span_s: float) -> str:
    """The page, for the last `span_s` seconds."""
    now = time.time()
    rows = [
        f'<h2 style="left:0;top:{row.y * ROW}px;width:{24 * COLUMN}px">{html.escape(row.title)}</h2>'
        for row in board.rows
    ]
    panels = [_section(panel, _lines(panel, prometheus, now, span_s), now, span_s) for panel in board.panels]
    height = max(panel.y + panel.height for panel in board.panels) * ROW
    return (
        f"<!doctype html><meta charset=utf-8><title>{html.escape(board.title)}</title><style>{_STYLE}</style>"
        f"<h1>{html.escape(board.title)}</h1><p>{html.escape(board.why)}</p>"
        f'<main style="height:{height}px">{"".join(rows)}{"".join(panels)}</main>'
    )


def _lines(panel: BoardPanel, prometheus: PrometheusProcess, now: float, span_s: float) -> list[Line]:
    lines = []
    for query in panel.queries:
        answer = prometheus.get(
            "/api/v1/query_range",
            query=query.filled(span=f"{math.ceil(span_s)}s"),
            start=now - span_s,
            end=now,
            step=span_s / POINTS,
        )
        for series in answer["data"]["result"]:
            points = [(float(at), float(value)) for at, value in series["values"]]
            finite = tuple((at, value) for at, value in points if math.isfinite(value))
            if finite:
                lines.append(Line(query.name(series["metric"]), finite))
    return lines


def _section(panel: BoardPanel, lines: Sequence[Line], now: float, span_s: float) -> str:
    width, height = panel.width * COLUMN - 8, panel.height * ROW - 8
    if not lines:
        body = '<div class="none">no data</div>'
    elif panel.kind == "stat":
        body = f'<div class="stat">{amount(lines[0].points[-1][1], panel.unit)}</div>'
    else:
        body = _chart(panel, lines, (now - span_s, now), width - 18, height - 56) + _legend(panel, lines)
    style = f"left:{panel.x * COLUMN}px;top:{panel.y * ROW}px;width:{width}px;height:{height}px"
    return (
        f'<section style="{style}" title="{html.escape(panel.why)}"><h3>{html.escape(panel.title)}</h3>{body}</section>'
    )


def _chart(panel: BoardPanel, lines: Sequence[Line], over: tuple[float, float], width: int, height: int) -> str:
    drawn = _stack(lines) if panel.stacked else list(lines)
    top = max(value for line in drawn for _, value in line.points) * 1.1 or 1.0
    left = 48

    def x(at: float) -> float:
        return left + (at - over[0]) / (over[1] - over[0]) * (width - left)

    def y(value: float) -> float:
        return height - 6 - value / top * (height - 14)

    grid = "".join(
        f'<line x1="{left}" x2="{width}" y1="{y(v):.0f}" y2="{y(v):.0f}" stroke="#2c3235"/>'
        f'<text x="{left - 4}" y="{y(v) + 3:.0f}" text-anchor="end">{amount(v, panel.unit)}</text>'
        for v in (0.0, top / 2, top)
    )
    curves = "".join(
        f'<polyline fill="none" stroke="{COLOURS[number % len(COLOURS)]}" stroke-width="1.5" points="'
        + " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in line.points)
        + '"/>'
        for number, line in enumerate(drawn)
    )
    return f'<svg width="{width}" height="{height}">{grid}{curves}</svg>'


def _stack(lines: Sequence[Line]) -> list[Line]:
    below: dict[float, float] = {}
    stacked = []
    for line in lines:
        for at, value in line.points:
            below[at] = below.get(at, 0.0) + value
        stacked.append(Line(line.name, tuple((at, below[at]) for at, _ in line.points)))
    return stacked


def _legend(panel: BoardPanel, lines: Sequence[Line]) -> str:
    entries = [
        f'<span><i style="background:{COLOURS[number % len(COLOURS)]}"></i>{html.escape(line.name)} '
        f"{amount(line.points[-1][1], panel.unit)}</span>"
        for number, line in enumerate(lines[:MAX_LEGEND])
    ]
    more = f"and {len(lines) - MAX_LEGEND} more" if len(lines) > MAX_LEGEND else ""
    return f'<div class="legend">{"".join(entries)}{more}</div>'


def amount(value: float, unit: str) -> str:
    """A value as a panel writes it."""
    match unit:
        case "s":
            return f"{value * 1000:.0f} ms" if abs(value) < 1 else f"{value:.2f} s"
        case "percentunit":
            return f"{value:.1%}"
        case "currencyUSD":
            return f"${value:.4f}" if abs(value) < 1 else f"${value:.2f}" if abs(value) < 1000 else f"${value:,.0f}"
        case "bytes":
            return f"{value / 2**20:.1f} MiB" if value >= 2**20 else f"{value / 2**10:.1f} KiB"
        case _:
            if abs(value) >= 1e5:
                return f"{value / 1e6:.3g} M"
            return f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.3g}"
