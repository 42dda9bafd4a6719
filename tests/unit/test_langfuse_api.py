"""The stand-in's API answers as Langfuse's does, and refuses what was not seen to work there."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from support.http_server import Request
from support.langfuse_api import LangfuseApi
from support.langfuse_rows import row_of
from support.otlp_client import Plain, make_span, traces_request
from support.received import decode_traces

TURN: dict[str, Plain] = {
    "session.id": "s-7",
    "langfuse.observation.type": "generation",
    "langfuse.observation.model.name": "gemini-3.8-live",
    "langfuse.observation.cost_details": '{"total":0.25}',
    "langfuse.observation.input": "[]",
    "long": "x" * 300,
}
OBSERVATIONS, METRICS, SCORES_V3 = "/api/public/v2/observations", "/api/public/v2/metrics", "/api/public/v3/scores"


@pytest.fixture
def api() -> LangfuseApi:
    made = LangfuseApi()
    spans = [make_span(f"Turn {n}", n, trace_id=n, attributes=TURN) for n in (1, 2, 3)]
    made.add_rows([row_of(span) for span in decode_traces(traces_request(spans), 0)])
    return made


def get(api: LangfuseApi, path: str, **query: str) -> tuple[int, Any]:
    answer = api.respond(Request("GET", f"{path}?{urlencode(query)}", {}, b"", 0))
    return answer.status, json.loads(answer.body)


def post_scores(api: LangfuseApi, *scores: dict[str, object]) -> tuple[int, Any]:
    answer = api.respond(Request("POST", "/api/public/scores", {}, json.dumps(scores).encode(), 0))
    return answer.status, json.loads(answer.body)


def query(**more: object) -> str:
    asked: dict[str, object] = {
        "view": "observations",
        "metrics": [{"measure": "count", "aggregation": "count"}, {"measure": "totalCost", "aggregation": "sum"}],
        "fromTimestamp": "2026-09-21T00:00:00Z",
        "toTimestamp": "2026-09-22T00:00:00Z",
        **more,
    }
    return json.dumps(asked)


def test_observations_come_in_the_groups_of_fields_that_are_asked_for(api: LangfuseApi) -> None:
    _, answer = get(api, OBSERVATIONS, traceId=f"{1:032x}")
    [row] = answer["data"]
    assert (row["name"], row["type"], row["parentObservationId"]) == ("Turn 1", "GENERATION", None)
    assert not {"input", "metadata", "usageDetails", "tags"} & set(row)
    _, answer = get(api, OBSERVATIONS, traceId=f"{1:032x}", fields="io,metadata,usage,trace_context")
    [row] = answer["data"]
    assert "name" not in row
    assert (row["input"], row["totalCost"], row["id"]) == ("[]", 0.25, f"{1:016x}")
    assert len(row["metadata"]["attributes.long"]) == 200
    _, answer = get(api, OBSERVATIONS, traceId=f"{1:032x}", fields="metadata", expandMetadata="attributes.long")
    assert len(answer["data"][0]["metadata"]["attributes.long"]) == 300


@pytest.mark.parametrize(
    "asked", [{"fields": "everything"}, {"limit": "1001"}, {"minCost": "1"}], ids=lambda asked: next(iter(asked))
)
def test_other_questions_are_refused(api: LangfuseApi, asked: dict[str, str]) -> None:
    assert get(api, OBSERVATIONS, **asked)[0] == 400


def test_a_page_is_as_long_as_asked_for(api: LangfuseApi) -> None:
    assert len(get(api, OBSERVATIONS, limit="2")[1]["data"]) == 2
    assert len(get(api, OBSERVATIONS, sessionId="s-7")[1]["data"]) == 3


def test_metrics_are_summed_and_grouped(api: LangfuseApi) -> None:
    of_session = [{"column": "sessionId", "operator": "=", "value": "s-7", "type": "string"}]
    status, answer = get(api, METRICS, query=query(filters=of_session, dimensions=[{"field": "providedModelName"}]))
    assert (status, answer["data"]) == (
        200,
        [{"providedModelName": "gemini-3.8-live", "count_count": 3, "sum_totalCost": 0.75}],
    )
    assert get(api, METRICS, query=query(fromTimestamp="2026-09-21T23:00:00Z"))[1]["data"] == [
        {"count_count": 0, "sum_totalCost": 0}
    ]


@pytest.mark.parametrize(
    "asked",
    [
        {"dimensions": [{"field": "sessionId"}]},
        {"view": "traces"},
        {"metrics": [{"measure": "latency", "aggregation": "p95"}]},
    ],
    ids=str,
)
def test_metrics_that_langfuse_has_not_got_are_refused(api: LangfuseApi, asked: dict[str, object]) -> None:
    assert get(api, METRICS, query=query(**asked))[0] == 400


def test_a_list_of_scores_is_taken_and_what_is_wrong_in_it_counted(api: LangfuseApi) -> None:
    good: dict[str, object] = {"id": "1", "sessionId": "s-7", "name": "completion", "value": 1}
    assert post_scores(api, good) == (202, {"message": "Accepted"})
    bad: list[dict[str, object]] = [
        {**good, "value": "high"},
        {**good, "traceId": "t"},
        {key: value for key, value in good.items() if key != "sessionId"},
        {**good, "dataType": "BOOLEAN", "value": 2},
        {**good, "name": ""},
    ]
    status, answer = post_scores(api, good, *bad)
    assert (status, answer["accepted"], answer["rejected"], len(answer["errors"])) == (207, 1, 5, 5)
    assert len(api.scores) == 1
    alone = api.respond(Request("POST", "/api/public/scores", {}, json.dumps(good).encode(), 0))
    assert alone.status == 400


def test_the_same_id_and_name_on_the_same_day_replace(api: LangfuseApi) -> None:
    score: dict[str, object] = {"id": "1", "sessionId": "s-7", "name": "completion", "value": 1}
    days = ("2026-09-21T10:00:00Z", "2026-09-21T11:00:00Z", "2026-09-22T10:00:00Z")
    for value, at in enumerate(days):
        post_scores(api, {**score, "value": value, "timestamp": at})
    _, answer = get(api, SCORES_V3, sessionId="s-7")
    assert [(each["value"], each["dataType"]) for each in answer["data"]] == [(1, "NUMERIC"), (2, "NUMERIC")]


def test_scores_are_found_by_what_they_belong_to(api: LangfuseApi) -> None:
    post_scores(api, {"id": "1", "sessionId": "s-7", "name": "a", "value": 1, "dataType": "BOOLEAN", "comment": "yes"})
    post_scores(api, {"id": "2", "traceId": "t-1", "name": "b", "value": 0.5})
    _, answer = get(api, SCORES_V3, sessionId="s-7", fields="details,subject")
    [score] = answer["data"]
    assert (score["value"], score["comment"], score["subject"]["kind"]) == (True, "yes", "session")
    assert [s["id"] for s in get(api, SCORES_V3, traceId="t-1")[1]["data"]] == ["2"]
    assert "comment" not in get(api, SCORES_V3, traceId="t-1")[1]["data"][0]
    for refused in ({"limit": "101"}, {"sessionId": "s", "traceId": "t"}, {"fields": "all"}):
        assert get(api, SCORES_V3, **refused)[0] == 400


def test_nothing_can_be_read_before_its_time(api: LangfuseApi) -> None:
    post_scores(api, {"id": "1", "sessionId": "s-7", "name": "a", "value": 1})
    api.readable_after_s = 3600
    assert get(api, OBSERVATIONS)[1]["data"] == []
    assert get(api, SCORES_V3)[1]["data"] == []
    assert get(api, METRICS, query=query())[1]["data"] == [{"count_count": 0, "sum_totalCost": 0}]
    assert len(api.scores) == 1


@pytest.mark.parametrize(
    "path", ["traces", "traces/t", "sessions", "sessions/s", "observations", "metrics", "v2/scores"]
)
def test_the_old_routes_are_gone(api: LangfuseApi, path: str) -> None:
    status, answer = get(api, f"/api/public/{path}")
    assert status == 404
    assert "not available in events_only mode" in answer["message"]


# --- media ----------------------------------------------------------------------------------------------------------

FILE = b"RIFF and more"
SHA256 = base64.b64encode(hashlib.sha256(FILE).digest()).decode()
ASKED: dict[str, object] = {
    "traceId": "t",
    "observationId": "o",
    "field": "input",
    "contentType": "audio/wav",
    "contentLength": len(FILE),
    "sha256Hash": SHA256,
}


def ask(api: LangfuseApi, **more: object) -> tuple[int, Any]:
    body = json.dumps({**ASKED, **more}).encode()
    answer = api.respond(Request("POST", "/api/public/media", {"host": "langfuse"}, body, 0))
    return answer.status, json.loads(answer.body)


def put(api: LangfuseApi, url: str, body: bytes = FILE, **headers: str) -> int:
    sent = {"content-type": "audio/wav", "x-amz-checksum-sha256": SHA256, **headers}
    return api.media.put(Request("PUT", url.removeprefix("http://langfuse"), sent, body, 0)).status


def report(api: LangfuseApi, media_id: str, status: int) -> int:
    body = json.dumps({"uploadedAt": "2026-09-21T00:00:00Z", "uploadHttpStatus": status}).encode()
    return api.respond(Request("PATCH", f"/api/public/media/{media_id}", {}, body, 0)).status


def test_a_file_is_playable_when_it_was_put_and_reported(api: LangfuseApi) -> None:
    code, answer = ask(api)
    assert (code, answer["mediaId"]) == (201, SHA256.replace("+", "-").replace("/", "_")[:22])
    assert put(api, answer["uploadUrl"]) == 200
    assert not api.media.all()[0].playable
    assert report(api, answer["mediaId"], 200) == 200
    assert api.media.all()[0].playable
    assert ask(api, traceId="another")[1]["uploadUrl"] is None
    assert [trace for trace, _, _ in api.media.all()[0].links] == ["t", "another"]


@pytest.mark.parametrize(
    "bad",
    [
        {"traceId": None},
        {"contentType": "audio/pcm"},
        {"contentLength": 0},
        {"sha256Hash": hashlib.sha256(FILE).hexdigest()},
        {"field": "attachment"},
    ],
    ids=lambda bad: next(iter(bad)),
)
def test_a_file_that_is_not_described_well_is_refused(api: LangfuseApi, bad: dict[str, object]) -> None:
    assert ask(api, **bad)[0] == 400
    assert api.media.all() == []


def test_the_object_store_takes_what_was_signed_and_nothing_else(api: LangfuseApi) -> None:
    url = ask(api)[1]["uploadUrl"]
    assert put(api, url, b"RIFF, another") == 400
    assert put(api, url, authorization="Basic abc") == 400
    assert put(api, url, **{"content-type": "audio/mpeg"}) == 403
    assert put(api, url, **{"x-amz-checksum-sha256": ""}) == 403
    assert put(api, url.replace("X-Amz-Signature=of", "X-Amz-Signature=off")) == 403
    assert api.media.all()[0].content is None
    assert report(api, "unheard-of", 200) == 404
