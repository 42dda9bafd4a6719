"""What of a Langfuse project can be set up by its public API: configurations of scores, widgets and dashboards.

Source of the rules: the API's definition as version 5 of the Langfuse SDK carries it (langfuse/api/score_configs,
unstable, and the views in metrics). Widgets and dashboards are called unstable there. None was seen at a real Langfuse.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from support.http_server import Request, Response

Body = dict[str, Any]

BASE = "/api/public/"
SCORE_CONFIGS = BASE + "score-configs"
WIDGETS = BASE + "unstable/dashboard-widgets"
DASHBOARDS = BASE + "unstable/dashboards"

_CONFIG_NAME = re.compile(r"[A-Za-z0-9_ .()-]{1,35}")
_AGGREGATIONS = {"sum", "avg", "count", "max", "min", "p50", "p75", "p90", "p95", "p99", "histogram", "uniq"}
_CHARTS = {
    *("LINE_TIME_SERIES", "AREA_TIME_SERIES", "BAR_TIME_SERIES", "HORIZONTAL_BAR", "VERTICAL_BAR"),
    *("PIE", "NUMBER", "HISTOGRAM", "PIVOT_TABLE"),
}
_DIMENSIONS = {
    "observations": {
        *("environment", "type", "name", "level", "version", "tags", "release", "traceName", "traceRelease"),
        *("traceVersion", "providedModelName", "promptName", "promptVersion", "isRootObservation", "startTimeMonth"),
    },
    "scores-numeric": {
        *("environment", "name", "source", "dataType", "configId", "timestampMonth", "timestampDay", "value"),
        *("traceName", "tags", "traceRelease", "traceVersion", "observationName", "observationModelName"),
    },
}
_MEASURES = {
    "observations": {
        *("count", "latency", "streamingLatency", "inputTokens", "outputTokens", "totalTokens", "totalCost"),
        *("outputTokensPerSecond", "tokensPerSecond", "inputCost", "outputCost", "timeToFirstToken", "countScores"),
    },
    "scores-numeric": {"count", "value"},
}
_OPERATORS = {"stringOptions": {"any of", "none of"}, "arrayOptions": {"any of", "none of", "all of"}}


class RefusedError(Exception):
    """Answered with 400."""


class LangfuseProject:
    """The three lists, each with the one that was changed last first. A page holds `page_size` at the most."""

    def __init__(self, page_size: int = 50) -> None:
        self.page_size = page_size
        self.score_configs: dict[str, Body] = {}
        self.widgets: dict[str, Body] = {}
        self.dashboards: dict[str, Body] = {}
        self.writes = 0
        self._numbers = itertools.count(1)

    def serves(self, path: str) -> bool:
        return path.startswith((SCORE_CONFIGS, WIDGETS, DASHBOARDS))

    def respond(self, request: Request) -> Response:
        """The answer to a request whose credentials were checked."""
        address = urlsplit(request.path)
        kinds: list[tuple[str, dict[str, Body], Callable[[Body], Body]]] = [
            (SCORE_CONFIGS, self.score_configs, _score_config),
            (WIDGETS, self.widgets, _widget),
            (DASHBOARDS, self.dashboards, self._dashboard),
        ]
        [(base, there, checked)] = [kind for kind in kinds if re.fullmatch(kind[0] + "(/[^/]+)?", address.path)]
        id_ = address.path.removeprefix(base).removeprefix("/")
        try:
            match request.method:
                case "GET" if not id_:
                    return Response.json(200, self._page(there, dict(parse_qsl(address.query))))
                case "POST" if not id_:
                    id_ = f"{base.rsplit('/', 1)[1]}-{next(self._numbers)}"
                    return self._write(there, id_, checked(json.loads(request.body)))
                case "PATCH" if id_ in there:
                    return self._write(there, id_, checked({**there[id_], **json.loads(request.body)}))
        except RefusedError as refused:
            return Response.json(400, {"message": "Invalid request data", "error": str(refused)})
        return Response.json(404, {"message": "Not Found"})

    def _page(self, there: dict[str, Body], query: Mapping[str, str]) -> Body:
        limit, number = min(int(query.get("limit", "50")), self.page_size), int(query.get("page", "1"))
        newest_first = list(reversed(there.values()))
        meta = {"page": number, "limit": limit, "totalItems": len(there), "totalPages": -(-len(there) // limit)}
        return {"data": newest_first[(number - 1) * limit : number * limit], "meta": meta}

    def _write(self, there: dict[str, Body], id_: str, body: Body) -> Response:
        now = datetime.now(UTC).isoformat()
        there[id_] = {"createdAt": now, **there.pop(id_, {}), **body, "id": id_, "updatedAt": now}
        self.writes += 1
        return Response.json(200, there[id_])

    def _dashboard(self, body: Body) -> Body:
        tiles = body.get("definition", {}).get("widgets", [])
        for tile in tiles:
            _demand(tile["type"] == "widget" and tile["widgetId"] in self.widgets, f"no such widget: {tile}")
            _demand(tile["id"] and tile["x"] >= 0 and tile["y"] >= 0, f"no such place: {tile}")
            _demand(1 <= tile["width"] <= 12 - tile["x"] and tile["height"] >= 1, f"outside of the grid: {tile}")
        return {"description": "", "filters": [], **body, "definition": {"widgets": tiles}}


def _score_config(body: Body) -> Body:
    _demand(_CONFIG_NAME.fullmatch(body["name"]), f"a bad name: {body['name']!r}")
    _demand(body["dataType"] in {"NUMERIC", "BOOLEAN", "CATEGORICAL", "TEXT"}, "dataType")
    _demand(body["minValue"] < body["maxValue"], "minValue is not below maxValue")
    return {"projectId": "project-1", "isArchived": False, **body}


def _widget(body: Body) -> Body:
    view = body["view"]
    _demand(view in _MEASURES, f"no such view: {view}")
    for dimension in body["dimensions"]:
        _demand(dimension["field"] in _DIMENSIONS[view], f"no such dimension: {dimension}")
    _demand(body["metrics"], "a widget without a metric")
    for metric in body["metrics"]:
        _demand(metric["measure"] in _MEASURES[view] and metric["agg"] in _AGGREGATIONS, f"no such metric: {metric}")
    for each in body["filters"]:
        _demand(each["column"] in _DIMENSIONS[view], f"no such column: {each}")
        _demand((each["type"] == "arrayOptions") == (each["column"] == "tags"), f"not the column's type: {each}")
        _demand(each["operator"] in _OPERATORS[each["type"]] and isinstance(each["value"], list), f"filter: {each}")
    _demand(body["chartType"] in _CHARTS, f"no such chart: {body['chartType']}")
    return {"description": "", **body, "chartConfig": {"type": body["chartType"]}}


def _demand(held: object, why: str) -> None:
    if not held:
        raise RefusedError(why)
