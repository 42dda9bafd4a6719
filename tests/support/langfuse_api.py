"""Langfuse's public API as version 4.16 answers it in its default mode (v4, events_only): what is read back.

Observations, metrics and scores are modelled as far as they are used here, media in langfuse_media.py, what sets a
project up in langfuse_project.py; whatever else is asked for is refused, so that a query that works here asks only for
what was seen to work there.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from support.http_server import Request, Response
from support.langfuse_media import MEDIA, LangfuseMedia
from support.langfuse_project import LangfuseProject
from support.langfuse_rows import Row

PROJECT_ID = "project-1"
SCORES = "/api/public/scores"
VERSION = "4.16.0"
# Routes over the tables of traces that this mode has not got.
GONE = re.compile(r"/api/public/((traces|sessions|observations)(/[^/]+)?|metrics|v2/scores(/[^/]+)?)")
MAX_METADATA = 200
FIELD_GROUPS = {
    "core", "basic", "time", "io", "metadata", "model", "usage", "prompt", "metrics", "trace_context",
}  # fmt: skip
# Neither may be grouped by: each would make a row of its own for every call.
HIGH_CARDINALITY = {"id", "traceId", "userId", "sessionId", "parentObservationId"}


class BadQueryError(Exception):
    """Answered with 400."""


@dataclass(frozen=True)
class Score:
    """As it was posted, with what Langfuse adds. The same id, name and day replace an earlier one."""

    id: str
    name: str
    value: float | str
    data_type: str
    session_id: str | None
    trace_id: str | None
    observation_id: str | None
    comment: str | None
    environment: str
    timestamp: datetime

    @property
    def key(self) -> tuple[str, str, str]:
        return self.id, self.name, self.timestamp.date().isoformat()


class LangfuseApi:
    """Rows and scores, readable `readable_after_s` seconds after they were taken."""

    def __init__(self, readable_after_s: float = 0.0) -> None:
        self.readable_after_s = readable_after_s
        self._rows: list[tuple[float, Row]] = []
        self._scores: dict[tuple[str, str, str], tuple[float, Score]] = {}
        self.media = LangfuseMedia()
        self.project = LangfuseProject()

    def add_rows(self, rows: Sequence[Row]) -> None:
        now = time.monotonic()
        self._rows = [*self._rows, *((now, row) for row in rows)]

    @property
    def scores(self) -> list[Score]:
        """All that were accepted, in order, whether they can be read already or not."""
        return [score for _, score in list(self._scores.values())]

    def respond(self, request: Request) -> Response:
        """The answer to a request whose credentials were checked."""
        address = urlsplit(request.path)
        query = dict(parse_qsl(address.query))
        if request.method == "POST" and address.path == SCORES:
            return self._post_scores(request.body)
        if request.method == "POST" and address.path == MEDIA:
            return self.media.ask(request)
        if request.method == "PATCH" and address.path.startswith(MEDIA + "/"):
            return self.media.report(request)
        if self.project.serves(address.path):
            return self.project.respond(request)
        if request.method != "GET":
            return Response.json(405, {"message": "Method not allowed"})
        if GONE.fullmatch(address.path) or address.path == SCORES:
            return Response.json(404, {"message": f"{address.path} is not available in events_only mode"})
        routes: dict[str, Callable[[dict[str, str]], dict[str, Any]]] = {
            "/api/public/health": lambda _: {"status": "OK", "version": VERSION},
            "/api/public/projects": lambda _: {"data": [_PROJECT]},
            "/api/public/v2/observations": self._observations,
            "/api/public/v2/metrics": self._metrics,
            "/api/public/v3/scores": self._get_scores,
        }
        route = routes.get(address.path)
        if route is None:
            return Response.json(404, {"message": "Not Found"})
        try:
            return Response.json(200, route(query))
        except BadQueryError as error:
            return Response.json(400, {"message": "Invalid request data", "error": str(error)})

    def _readable(self) -> list[Row]:
        until = time.monotonic() - self.readable_after_s
        return [row for added, row in self._rows if added <= until]

    def _observations(self, query: dict[str, str]) -> dict[str, Any]:
        limit = _limit(query, 50, 1000)
        groups = set(query.pop("fields", "core,basic").split(",")) | {"core"}
        expanded = set(query.pop("expandMetadata", "").split(","))
        if unknown := groups - FIELD_GROUPS:
            raise BadQueryError(f"fields: {unknown}")
        wanted = _filter(query)
        rows = [row for row in self._readable() if wanted(row)]
        newest_first = sorted(rows, key=lambda row: (-row.start_ms, row.id))
        return {"data": [_observation(row, groups, expanded) for row in newest_first[:limit]], "meta": {}}

    def _metrics(self, query: dict[str, str]) -> dict[str, Any]:
        asked = json.loads(query["query"])
        if asked["view"] != "observations":
            raise BadQueryError(f"view: {asked['view']}")
        dimensions = [dimension["field"] for dimension in asked.get("dimensions", [])]
        if refused := HIGH_CARDINALITY & set(dimensions):
            raise BadQueryError(f"high cardinality dimensions {refused}: filter by them instead")
        since, until = (_millis(asked[key]) for key in ("fromTimestamp", "toTimestamp"))
        wanted = _filter({each["column"]: _equal(each) for each in asked.get("filters", [])})
        groups: dict[tuple[object, ...], list[Row]] = {}
        for row in self._readable():
            if since <= row.start_ms < until and wanted(row):
                groups.setdefault(tuple(_COLUMNS[name](row) for name in dimensions), []).append(row)
        if not dimensions:
            groups = groups or {(): []}
        return {
            "data": [
                {
                    **dict(zip(dimensions, key, strict=True)),
                    **{f"{m['aggregation']}_{m['measure']}": _measure(m, rows) for m in asked["metrics"]},
                }
                for key, rows in groups.items()
            ]
        }

    def _post_scores(self, body: bytes) -> Response:
        posted = json.loads(body)
        if not isinstance(posted, list):
            return Response.json(400, {"message": "Invalid request data", "error": "a list of scores is expected"})
        now, errors = datetime.now(UTC), []
        for each in posted:
            try:
                score = _score(each, now)
            except BadQueryError as error:
                errors.append({"message": str(error)})
            else:
                self._scores[score.key] = (time.monotonic(), score)
        if errors:
            return Response.json(
                207, {"accepted": len(posted) - len(errors), "rejected": len(errors), "errors": errors}
            )
        return Response.json(202, {"message": "Accepted"})

    def _get_scores(self, query: dict[str, str]) -> dict[str, Any]:
        limit = _limit(query, 50, 100)
        groups = {group for group in query.pop("fields", "").split(",") if group}
        if unknown := groups - {"details", "subject", "annotation"}:
            raise BadQueryError(f"fields: {unknown}")
        if {"traceId", "sessionId"} <= set(query):
            raise BadQueryError("traceId and sessionId exclude each other")
        fields: dict[str, Callable[[Score], str | None]] = {
            "id": lambda score: score.id,
            "name": lambda score: score.name,
            "sessionId": lambda score: score.session_id,
            "traceId": lambda score: score.trace_id,
        }
        if unknown := set(query) - set(fields):
            raise BadQueryError(f"not modelled here: {unknown}")
        until = time.monotonic() - self.readable_after_s
        found = [
            score
            for added, score in list(self._scores.values())
            if added <= until and all(fields[key](score) in said.split(",") for key, said in query.items())
        ]
        return {"data": [_score_shown(score, groups) for score in found[:limit]], "meta": {"limit": limit}}


_PROJECT = {"id": PROJECT_ID, "name": "Voice", "organization": {"id": "o-1", "name": "O"}, "metadata": {}}
_COLUMNS: dict[str, Callable[[Row], object]] = {
    "traceId": lambda row: row.trace_id,
    "sessionId": lambda row: row.session_id,
    "userId": lambda row: row.user_id,
    "name": lambda row: row.name,
    "type": lambda row: row.type,
    "level": lambda row: row.level,
    "environment": lambda row: row.environment,
    "version": lambda row: row.version,
    "providedModelName": lambda row: row.model,
    "traceName": lambda row: row.trace_name,
    "isRootObservation": lambda row: str(row.is_root).lower(),
}
_MEASURES: dict[str, Callable[[Row], float]] = {
    "totalCost": lambda row: row.total_cost or 0.0,
    "totalTokens": lambda row: row.usage.get("total", 0),
    "inputTokens": lambda row: row.input_usage,
    "outputTokens": lambda row: row.output_usage,
}


def _filter(query: dict[str, str]) -> Callable[[Row], bool]:
    if unknown := set(query) - set(_COLUMNS):
        raise BadQueryError(f"not modelled here: {unknown}")
    return lambda row: all(_COLUMNS[key](row) == said for key, said in query.items())


def _equal(condition: dict[str, Any]) -> str:
    if (condition["type"], condition["operator"]) != ("string", "="):
        raise BadQueryError(f"not modelled here: {condition}")
    return str(condition["value"])


def _measure(metric: dict[str, str], rows: list[Row]) -> float:
    match metric["aggregation"], metric["measure"]:
        case "count", "count":
            return len(rows)
        case "sum", measure if measure in _MEASURES:
            return sum(_MEASURES[measure](row) for row in rows)
        case _:
            raise BadQueryError(f"not modelled here: {metric}")


def _limit(query: dict[str, str], default: int, most: int) -> int:
    limit = int(query.pop("limit", default))
    if not 0 < limit <= most:
        raise BadQueryError(f"limit: at most {most}")
    return limit


def _observation(row: Row, groups: set[str], expanded: set[str]) -> dict[str, Any]:
    """The groups that were asked for; the others' fields are null or absent."""
    shown: dict[str, dict[str, Any]] = {
        "core": {
            "id": row.id,
            "traceId": row.trace_id,
            "projectId": PROJECT_ID,
            "parentObservationId": row.parent_id or None,
            "type": row.type,
            "startTime": _iso(row.start_ms),
            "endTime": _iso(row.end_ms),
        },
        "basic": {
            "name": row.name,
            "level": row.level,
            "statusMessage": row.status_message,
            "version": row.version,
            "environment": row.environment,
            "userId": row.user_id,
            "sessionId": row.session_id,
            "isRootObservation": row.is_root,
        },
        "time": {"completionStartTime": None if row.completion_start_ms is None else _iso(row.completion_start_ms)},
        "io": {"input": row.input, "output": row.output},
        "metadata": {
            "metadata": {key: _cut(value, key in expanded) for key, value in row.metadata.items()},
        },
        "model": {"model": row.model, "modelParameters": row.model_parameters, "internalModelId": None},
        "usage": {
            "usageDetails": row.usage,
            "inputUsage": row.input_usage,
            "outputUsage": row.output_usage,
            "totalUsage": row.usage.get("total", 0),
            "costDetails": row.cost,
            "totalCost": row.total_cost,
        },
        # None in place of zero, as its source has it.
        "metrics": {"latency": row.latency_s or None, "timeToFirstToken": row.time_to_first_token_s or None},
        "trace_context": {"tags": list(row.tags), "release": row.release, "traceName": row.trace_name},
    }
    return {key: value for group, fields in shown.items() if group in groups for key, value in fields.items()}


def _score(posted: dict[str, Any], now: datetime) -> Score:
    name, value, kind = posted.get("name"), posted.get("value"), posted.get("dataType", "NUMERIC")
    if not isinstance(name, str) or not name:
        raise BadQueryError("name: required")
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in {"NUMERIC", "BOOLEAN"} and (not numeric or (kind == "BOOLEAN" and value not in {0, 1})):
        raise BadQueryError(f"value: not {kind}: {value!r}")
    if (posted.get("traceId") is None) == (posted.get("sessionId") is None):
        raise BadQueryError("a score belongs to a trace or to a session")
    said = posted.get("timestamp")
    return Score(
        id=str(posted.get("id") or f"score-{time.monotonic_ns()}"),
        name=name,
        value=value if isinstance(value, int | float | str) else "",
        data_type=kind,
        session_id=posted.get("sessionId"),
        trace_id=posted.get("traceId"),
        observation_id=posted.get("observationId"),
        comment=posted.get("comment"),
        environment=posted.get("environment") or "default",
        timestamp=datetime.fromisoformat(said) if said else now,
    )


def _score_shown(score: Score, groups: set[str]) -> dict[str, Any]:
    at = score.timestamp.isoformat()
    shown = {
        "id": score.id,
        "projectId": PROJECT_ID,
        "name": score.name,
        "value": bool(score.value) if score.data_type == "BOOLEAN" else score.value,
        "dataType": score.data_type,
        "source": "API",
        "timestamp": at,
        "environment": score.environment,
        "createdAt": at,
        "updatedAt": at,
    }
    if "details" in groups:
        shown |= {"comment": score.comment, "configId": None, "metadata": {}}
    if "subject" in groups:
        kind = "session" if score.session_id else "observation" if score.observation_id else "trace"
        identifier = score.session_id or score.observation_id or score.trace_id
        shown["subject"] = {"kind": kind, "id": identifier, "traceId": score.trace_id}
    return shown


def _cut(value: object, whole: bool) -> object:
    return value if whole or not isinstance(value, str) else value[:MAX_METADATA]


def _iso(at_ms: int) -> str:
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def _millis(said: str) -> float:
    return datetime.fromisoformat(said).timestamp() * 1000
