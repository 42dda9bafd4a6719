"""Sessions over REST: read, summed, scored and deleted."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from support.api import AS_ALICE, KEYS, Api, api
from support.story import events
from support.telling import MODEL
from voicespan import Capture, Identity, VoiceSession
from voicespan.session_scores import Score
from voicespan_server.rest import sessions

CALL = "ON MIC VAS I VAE CALL1 RESP1 A T GC U TC I VAE A GC U TC BYE"


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Api]:
    async with api(monkeypatch, tmp_path, api_keys=KEYS) as found:
        found.client.headers.update(AS_ALICE)
        yield found


def tell(served: Api, session_id: str, story: str = CALL, **identity: str) -> None:
    who = Identity(session_id, **{"user_id": "u-1", "key_id": "alice", "backend": "gemini", **identity})  # type: ignore[arg-type]
    tracer = served.server.telemetry.tracer
    session = VoiceSession(who, MODEL, tracer=tracer, capture=Capture(on_spans=True))
    began = session.now_ns()
    for event, at in events(story):
        session.feed(event, began + at)
    assert served.server.pipeline.store.flush(5.0)


def files_in(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in folder.iterdir()]


async def got(served: Api, path: str, **params: Any) -> Any:
    answer = await served.client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_sessions_are_read_page_by_page(served: Api) -> None:
    for number in range(5):
        tell(served, f"s-{number}")
    seen, before = [], None
    while True:
        page = await got(served, "/v1/sessions", limit=2, **({"before": before} if before else {}))
        seen.append([session["session_id"] for session in page["sessions"]])
        if (before := page["next"]) is None:
            break
    assert seen == [["s-4", "s-3"], ["s-2", "s-1"], ["s-0"]]


async def test_sessions_are_found_by_user_key_backend_and_time(served: Api) -> None:
    tell(served, "a", user_id="u-2")
    tell(served, "b", key_id="bob")
    tell(served, "c", backend="simulator")

    async def ids(**params: Any) -> list[str]:
        return [session["session_id"] for session in (await got(served, "/v1/sessions", **params))["sessions"]]

    assert await ids(user_id="u-2") == ["a"]
    assert await ids(key_id="bob") == ["b"]
    assert await ids(backend="simulator") == ["c"]
    assert await ids(model="gemini-3.8-live") == ["c", "b", "a"]
    started = (await got(served, "/v1/sessions/b"))["started_at"]
    assert await ids(since=started) == ["c", "b"]
    assert await ids(until=started) == ["a"]
    assert await ids(since="9999-12-31T00:00:00Z") == await ids(until="0001-01-01T00:00:00Z") == []


@pytest.mark.parametrize(
    "params", [{"before": "x"}, {"limit": 0}, {"since": "yesterday"}, {"before": "99999999999999999999.s"}]
)
async def test_what_cannot_be_read_is_refused(served: Api, params: dict[str, str]) -> None:
    assert (await served.client.get("/v1/sessions", params=params)).status_code == 422


async def test_one_session_its_trace_its_summary_and_its_timeline(served: Api) -> None:
    tell(served, "s-1")
    found = await got(served, "/v1/sessions/s-1")
    assert (found["turns"], found["tool_calls"], found["key_id"], found["simulated"]) == (2, 1, "alice", False)
    assert found["duration_s"] > 0
    spans = await got(served, "/v1/sessions/s-1/trace")
    assert [span["name"] for span in spans][:2] == ["WebSocket Session", "Live Connection 1"]
    summary = await got(served, "/v1/sessions/s-1/summary")
    assert (summary["turns"], summary["turns_by_end"]) == (2, {"completed": 2})
    timeline = await got(served, "/v1/sessions/s-1/timeline")
    assert [moment["said"] for moment in timeline if moment["kind"] == "turn"] == ["spoken", "spoken"]
    assert len([moment for moment in timeline if moment["kind"] != "event"]) == len(spans)


async def test_a_session_that_is_not_there_is_not_found(served: Api) -> None:
    for path in ("", "/trace", "/summary", "/timeline"):
        answer = await served.client.get(f"/v1/sessions/nobody{path}")
        assert (answer.status_code, answer.json()) == (404, {"detail": "no session nobody"})
    assert (await served.client.delete("/v1/sessions/nobody")).status_code == 404
    assert (await served.client.delete("/v1/users/nobody")).status_code == 404


async def test_usage_is_summed_and_simulated_calls_are_no_cost(served: Api) -> None:
    tell(served, "a")
    tell(served, "b", key_id="bob")
    tell(served, "c", backend="simulator")
    report = await got(served, "/v1/usage")
    costs = {(row["key_id"], row["simulated"]): row["cost_usd"] for row in report["usage"]}
    assert set(costs) == {("alice", False), ("bob", False), ("alice", True)}
    assert report["cost_usd"] == pytest.approx(costs["alice", False] + costs["bob", False])
    by_key = (await got(served, "/v1/usage", by="key"))["usage"]
    assert {row["day"] for row in by_key} == {None}
    assert (await got(served, "/v1/usage", until="2001-01-01"))["usage"] == []
    assert (await served.client.get("/v1/usage", params={"by": "moon"})).status_code == 422


async def test_feedback_is_kept_here_and_listed_with_the_session(served: Api) -> None:
    tell(served, "s-1")
    for given in (
        {"thumbs": "down"},
        {"thumbs": "up", "comment": "quick"},
        {"name": "helpfulness", "score": 0.25},
    ):
        answer = await served.client.post("/v1/sessions/s-1/feedback", json=given)
        assert (answer.status_code, answer.json()) == (202, {"status": "accepted", "langfuse": False})
    served.server.pipeline.store.flush(5.0)
    scores = (await got(served, "/v1/sessions/s-1"))["scores"]
    assert [(score["name"], score["value"], score["comment"]) for score in scores] == [
        ("user_feedback", 1.0, "quick"),
        ("helpfulness", 0.25, None),
    ]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"thumbs": "up", "score": 1},
        {"thumbs": "sideways"},
        {"score": "NaN"},
        {"comment": "x"},
        {"name": "", "score": 1},
    ],
)
async def test_what_is_no_feedback_is_refused(served: Api, given: dict[str, object]) -> None:
    answer = await served.client.post("/v1/sessions/s-1/feedback", json=given)
    assert answer.status_code == 422
    assert "Value error" not in answer.text  # pydantic's own words


async def test_a_deleted_session_is_gone(served: Api) -> None:
    tell(served, "s-1")
    tell(served, "s-2")
    await served.client.post("/v1/sessions/s-1/feedback", json={"thumbs": "up"})
    answer = (await served.client.delete("/v1/sessions/s-1")).json()
    assert (answer["sessions"], answer["running"]) == (1, [])
    assert answer["records"] > 5
    assert "Langfuse" in answer["elsewhere"]
    assert [found["session_id"] for found in (await got(served, "/v1/sessions"))["sessions"]] == ["s-2"]
    assert (await served.client.get("/v1/sessions/s-1/trace")).status_code == 404


async def test_all_of_a_users_sessions_go_but_for_those_that_run(served: Api, tmp_path: Path) -> None:
    for number in range(3):
        tell(served, f"s-{number}", user_id="u-gone")
    tell(served, "s-other", user_id="u-stays")
    answer = (await served.client.delete("/v1/users/u-gone")).json()
    assert (answer["sessions"], answer["running"]) == (3, [])
    assert [found["session_id"] for found in (await got(served, "/v1/sessions"))["sessions"]] == ["s-other"]
    assert [file for file in files_in(tmp_path) if b"u-gone" in file] == []


@pytest.mark.parametrize("user_id", ["team/u-1", "u 1", "ü?&#"])
async def test_a_user_may_have_any_name(served: Api, user_id: str) -> None:
    tell(served, "s-1", user_id=user_id)
    assert (await served.client.delete(f"/v1/users/{quote(user_id, safe='')}")).json()["sessions"] == 1


async def test_a_call_that_runs_is_not_deleted(served: Api) -> None:
    tell(served, "s-1")
    tell(served, "s-1", CALL.removesuffix(" BYE"))
    assert (await served.client.delete("/v1/sessions/s-1")).status_code == 409
    assert (await served.client.delete("/v1/users/u-1")).json()["running"] == ["s-1"]
    assert (await got(served, "/v1/sessions/s-1"))["turns"] == 2


async def test_nor_is_one_where_nothing_is_kept_on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with api(monkeypatch, tmp_path, store="off") as served:
        tell(served, "s-1", CALL.removesuffix(" BYE"))
        assert (await served.client.delete("/v1/sessions/s-1")).status_code == 409
        assert (await served.client.delete("/v1/users/u-1")).json()["running"] == ["s-1"]
        tell(served, "s-2")
        assert (await served.client.delete("/v1/sessions/s-2")).status_code == 200


async def test_a_users_first_call_is_named_while_it_runs(served: Api) -> None:
    tell(served, "s-1", CALL.removesuffix(" BYE"), user_id="u-new")
    answer = await served.client.delete("/v1/users/u-new")
    assert (answer.status_code, answer.json()["running"]) == (200, ["s-1"])


async def test_reading_and_deleting_make_no_traces_and_feedback_makes_one(served: Api) -> None:
    tell(served, "s-1")
    for path in ("/v1/sessions", "/v1/sessions/s-1", "/v1/sessions/s-1/timeline", "/v1/usage", "/v1/traces"):
        await got(served, path)
    await served.client.post("/v1/sessions/s-1/feedback", json={"thumbs": "up"})
    await served.client.delete("/v1/sessions/s-1")
    served.server.pipeline.store.flush(5.0)
    names = {trace["name"] for trace in await got(served, "/v1/traces")}
    assert names == {"POST /v1/sessions/{session_id}/feedback"}


async def test_a_budget_of_the_day_counts_what_was_spent_before_the_process_began(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with api(monkeypatch, tmp_path, api_keys=KEYS) as first:
        tell(first, "s-1")
        tell(first, "s-2", backend="simulator")
        cost_usd = json.loads((await first.client.get("/v1/usage", headers=AS_ALICE)).text)["cost_usd"]
    for budget_usd, refused in ((cost_usd / 2, True), (cost_usd * 1.5, False)):
        async with api(monkeypatch, tmp_path, api_keys=KEYS, key_day_budget_usd=budget_usd) as again:
            why = again.server.door.spend.exhausted("alice", again.server.door.spend._day)
            assert (why == "today's budget of this key is spent") is refused
            if refused:
                answer = await again.client.post("/v1/chat", headers=AS_ALICE, json={"message": "hello"})
                assert (answer.status_code, answer.json()["detail"]) == (429, why)


async def test_a_store_that_is_gone_is_said_and_is_no_fault_of_the_client(served: Api, tmp_path: Path) -> None:
    tell(served, "s-1")
    (tmp_path / "voicespan.db").rename(tmp_path / "elsewhere.db")
    for path in ("/v1/sessions", "/v1/sessions/s-1", "/v1/usage", "/v1/traces"):
        answer = await served.client.get(path)
        assert (answer.status_code, answer.json()["detail"].split(":")[0]) == (503, "the store cannot be read"), path


async def test_a_deletion_that_the_store_cannot_do_is_said_and_can_be_done_later(
    served: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "FLUSH_S", 0.1)
    tell(served, "s-1")
    served.server.pipeline.store._tables.database.execute("PRAGMA busy_timeout=20")
    with closing(sqlite3.connect(tmp_path / "voicespan.db")) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        for path in ("/v1/sessions/s-1", "/v1/users/u-1"):
            for waits in (False, True):
                if waits:
                    served.server.telemetry.score("s-1", Score("waits", 1.0))
                answer = await served.client.delete(path)
                why = answer.json()["detail"].split(":")[0]
                assert (answer.status_code, why) == (503, "the store cannot be written")
        stranger.rollback()
    monkeypatch.setattr(sessions, "FLUSH_S", 10.0)
    assert (await served.client.delete("/v1/sessions/s-1")).status_code == 200
    assert (await served.client.get("/v1/sessions/s-1")).status_code == 404


async def test_what_a_neighbour_spends_counts_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with (
        api(monkeypatch, tmp_path, api_keys=KEYS) as neighbour,
        api(monkeypatch, tmp_path, api_keys=KEYS, key_day_budget_usd=0.000001) as own,
    ):
        spend, day = own.server.door.spend, own.server.door.spend._day
        assert spend.exhausted("alice", day) is None
        tell(neighbour, "s-1")
        await own.server.stored_spend.absorb()
        cost_usd = spend.of_key("alice", day)
        assert spend.exhausted("alice", day) == "today's budget of this key is spent"
        await own.server.stored_spend.absorb()
        assert spend.of_key("alice", day) == cost_usd


async def test_health_tells_that_the_stores_file_is_gone(served: Api, tmp_path: Path) -> None:
    assert (await got(served, "/healthz"))["telemetry"] == "ok"
    (tmp_path / "voicespan.db").unlink()
    served.server.pipeline.store._keep_house()
    for path in ("/healthz", "/readyz"):
        (fault,) = (await got(served, path))["telemetry"]
        assert "deleted or replaced" in fault
