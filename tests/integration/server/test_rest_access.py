"""Who may ask the REST API, and what it says to those who may not."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from starlette.types import Message

from support.api import AS_ALICE, KEY, KEYS, OTHER_KEY, Api, api
from support.real_server import running
from voicespan_server.access.allowance import Allowance
from voicespan_server.access.door import REFUSALS_TOLD_AT_ONCE, REFUSALS_TOLD_PER_S, Door
from voicespan_server.access.refusal import Refused
from voicespan_server.access.tokens import Claims
from voicespan_server.environment import read_environment
from voicespan_server.rest.body_limit import MAX_BODY_BYTES
from voicespan_server.settings import Settings, SettingsError, load_settings

GUARDED_GET = ("/v1/traces", "/v1/traces/" + "0" * 32, "/v1/traces/" + "0" * 32 + "/link", "/v1/config")


@pytest.fixture
async def keyed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Api]:
    async with api(monkeypatch, tmp_path, api_keys=KEYS) as found:
        yield found


@pytest.fixture
async def unkeyed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Api]:
    async with api(monkeypatch, tmp_path) as found:
        yield found


async def test_every_route_below_v1_asks_for_a_key(keyed: Api) -> None:
    routes = [(path, method) for path, found in keyed.app.openapi()["paths"].items() for method in found]
    guarded = [(path, method) for path, method in routes if path.startswith("/v1/")]
    assert len(guarded) >= 6
    assert {path for path, _ in routes} - {path for path, _ in guarded} == {"/healthz", "/readyz"}
    for path, method in guarded:
        url = path.replace("{trace_id}", "0" * 32).replace("{session_id}", "s").replace("{user_id}", "u")
        for headers in ({}, {"Authorization": "Bearer not-a-key-of-anybody"}, {"Authorization": f"Basic {KEY}"}):
            answer = await keyed.client.request(method, url, headers=headers, json={})
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), (method, path)


async def test_what_can_be_got_can_be_asked_for_without_its_body(keyed: Api) -> None:
    async with running(keyed.app) as (port, _), httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        for path in ("/healthz", "/readyz", "/v1/config", "/v1/sessions", "/v1/sessions/none", "/docs"):
            got, head = [await client.request(method, path, headers=AS_ALICE) for method in ("GET", "HEAD")]
            assert (head.status_code, head.content) == (got.status_code, b""), path
            assert head.headers["Content-Type"] == got.headers["Content-Type"]
        assert (await client.head("/v1/config")).status_code == 401
        assert (await client.head("/v1/chat", headers=AS_ALICE)).status_code == 405


async def test_nobody_is_sent_elsewhere(keyed: Api) -> None:
    """Behind a proxy that ends TLS elsewhere would be plain http."""
    for path in ("/v1/sessions/", "/healthz/", "/v1/usage/"):
        assert (await keyed.client.get(path, headers=AS_ALICE)).status_code == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/session-tokens", {"budget": 0.5}),
        ("/v1/chat", {"message": "hello", "user": "u-1"}),
        ("/v1/sessions/s-1/feedback", {"thumbs": "up", "note": "quick"}),
    ],
)
async def test_a_field_that_there_is_not_is_refused_by_name(keyed: Api, path: str, body: dict[str, object]) -> None:
    answer = await keyed.client.post(path, headers=AS_ALICE, json=body)
    assert answer.status_code == 422
    assert [fault["loc"] for fault in answer.json()["detail"]] == [["body", list(body)[-1]]]


async def test_a_question_that_a_stopping_server_cannot_wait_for_is_told_so(
    keyed: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = asyncio.Event()

    async def never(*_: object, **__: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("voicespan_server.rest.chat.chat", never)
    async with running(keyed.app) as (port, server), httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        answer = asyncio.create_task(client.post("/v1/chat", headers=AS_ALICE, json={"message": "hello"}))
        await asked.wait()
        server.should_exit = True
        assert ((await answer).status_code, (await answer).json()) == (503, {"detail": "the server is stopping"})
    assert "Traceback" not in caplog.text


async def test_a_langfuse_that_hangs_holds_up_its_links_alone(keyed: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()
    monkeypatch.setattr(keyed.server, "langfuse_link", lambda trace_id: str(answers.wait(10)))
    path = "/v1/traces/" + "0" * 32 + "/link"
    links = [asyncio.create_task(keyed.client.get(path, headers=AS_ALICE)) for _ in range(40)]
    try:
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
            assert (await keyed.client.get("/v1/sessions", headers=AS_ALICE)).status_code == 200
        assert not any(link.done() for link in links)
    finally:
        answers.set()
    assert {(await link).json()["langfuse"] for link in links} == {"True"}


async def test_the_openapi_says_how_to_show_a_key_and_what_each_route_answers(keyed: Api) -> None:
    found = keyed.app.openapi()
    assert found["components"]["securitySchemes"]["API key"] == {
        "type": "http",
        "scheme": "bearer",
        "description": found["components"]["securitySchemes"]["API key"]["description"],
    }
    for path, methods in found["paths"].items():
        for method, route in methods.items():
            assert route["description"], (method, path)
            assert route["tags"], (method, path)
            answers = route["responses"]
            success = next(status for status in answers if status.startswith("2"))
            schema = answers[success].get("content", {}).get("application/json", {}).get("schema")
            assert schema or success == "204", (method, path)
            for parameter in route.get("parameters", []):
                assert parameter.get("description"), (method, path, parameter["name"])
            if path.startswith("/v1/"):
                assert {"401", "403"} <= set(answers), (method, path)
                assert route["security"] == [{"API key": []}], (method, path)


async def test_all_that_the_openapi_refers_to_is_in_it(keyed: Api) -> None:
    found = keyed.app.openapi()
    referred_to = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(found)))
    assert referred_to == set(found["components"]["schemas"])
    assert found["components"]["schemas"]["Problem"]["required"] == ["detail"]


async def test_health_asks_for_none(keyed: Api) -> None:
    assert [(await keyed.client.get(path)).status_code for path in ("/healthz", "/readyz")] == [200, 200]


async def test_with_a_key_one_is_served(keyed: Api) -> None:
    answers = [(await keyed.client.get(path, headers=AS_ALICE)).status_code for path in GUARDED_GET]
    assert answers == [200, 404, 200, 200]


async def test_a_flood_of_strangers_makes_few_traces_and_what_is_no_route_none(keyed: Api) -> None:
    began_s = time.monotonic()
    for number in range(2 * REFUSALS_TOLD_AT_ONCE):
        assert (await keyed.client.get(f"/nothing/{number}")).status_code == 404
        assert (await keyed.client.post("/v1/chat", json={})).status_code == 401
        assert (await keyed.client.put("/v1/chat")).status_code == 405
    most = 2 * REFUSALS_TOLD_AT_ONCE + REFUSALS_TOLD_PER_S * (time.monotonic() - began_s)
    assert (await keyed.client.post("/v1/session-tokens", json={}, headers=AS_ALICE)).status_code == 201
    keyed.server.pipeline.store.flush(5.0)
    found = (await keyed.client.get("/v1/traces?limit=200", headers=AS_ALICE)).json()
    names = Counter(trace["name"] for trace in found)
    assert names.pop("POST /v1/session-tokens") == 1
    assert REFUSALS_TOLD_AT_ONCE <= sum(names.values()) <= most
    assert keyed.server.door.refused["unauthorized"] == 2 * REFUSALS_TOLD_AT_ONCE


async def test_nor_does_a_flood_of_calls_while_the_server_stops(keyed: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    keyed.server.drain.draining = True
    monkeypatch.setattr(keyed.server.door, "_told", Allowance(1, 2, clock_ns=lambda: 0))
    answered = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        if message["type"] == "websocket.http.response.start":
            answered.append(message["status"])

    scope = {"type": "websocket", "path": "/ws/voice", "headers": [], "query_string": b"", "subprotocols": []}
    for _ in range(5):
        await keyed.app(scope | {"extensions": {"websocket.http.response": {}}}, receive, send)
    assert answered == [503] * 5
    keyed.server.pipeline.store.flush(5.0)
    found = (await keyed.client.get("/v1/traces?limit=200", headers=AS_ALICE)).json()
    assert [trace["name"] for trace in found] == ["Voice Session"] * 2


async def test_a_token_is_for_whom_and_what_was_asked(keyed: Api) -> None:
    asked = {"user_id": "u-1", "ttl_s": 30, "max_session_s": 60, "budget_usd": 0.25}
    answer = await keyed.client.post("/v1/session-tokens", headers=AS_ALICE, json=asked)
    assert answer.status_code == 201
    found = answer.json()
    assert found["subprotocols"] == ["voice.v1", "bearer." + found["token"]]
    caller = keyed.server.door.by_token(found["token"])
    assert (caller.key_id, caller.user, caller.max_session_s, caller.budget_usd) == ("alice", "u-1", 60.0, 0.25)


async def test_a_token_lives_no_longer_than_the_setting_allows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with api(monkeypatch, tmp_path, api_keys=KEYS, token_ttl_s=20) as found:
        answers = [
            (await found.client.post("/v1/session-tokens", headers=AS_ALICE, json=asked)).json()
            for asked in ({"ttl_s": 3600}, {"ttl_s": 20}, {})
        ]
    # The second in which each was asked for may have changed meanwhile.
    ends = sorted({answer["expires_at"] for answer in answers})
    assert len(ends) <= 2


def test_a_token_of_a_key_that_is_gone_is_refused() -> None:
    def door(keys: str, token_secret: str | None = None) -> Door:
        return Door(Settings(api_keys=keys, token_secret=token_secret))  # type: ignore[arg-type]

    now_s = int(time.time())
    claims = Claims("alice", now_s, now_s + 60)
    with pytest.raises(Refused, match="signature"):
        door(f"bob:{OTHER_KEY}").by_token(door(KEYS).issue(claims))
    kept = "s" * 32
    assert door(KEYS, kept).by_token(door(KEYS, kept).issue(claims)).key_id == "alice"
    with pytest.raises(Refused, match="no longer valid"):
        door(f"bob:{OTHER_KEY}", kept).by_token(door(KEYS, kept).issue(claims))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:5173"}, 200),
        ({"Origin": "https://evil.example.com"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "rebound.evil.com:8000"}, 403),
        ({"Host": "rebound.evil.com:8000", "Origin": "http://rebound.evil.com:8000"}, 403),
    ],
)
async def test_without_keys_only_this_machines_own_pages_are_served(
    unkeyed: Api, headers: dict[str, str], status: int
) -> None:
    assert (await unkeyed.client.get("/v1/traces", headers=headers)).status_code == status


async def test_without_keys_what_comes_in_on_another_address_is_refused(unkeyed: Api) -> None:
    # Whoever runs uvicorn itself may bind it to any address, and a client may name any host.
    url = "http://192.168.1.4:8000/v1/traces"
    answer = await unkeyed.client.get(url, headers={"Host": "localhost:8000"})
    assert (answer.status_code, "this machine alone" in answer.json()["detail"]) == (403, True)


async def test_cors_lets_in_whom_the_allow_list_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    async with api(monkeypatch, tmp_path, api_keys=KEYS, allowed_origins="https://app.example.com") as found:
        for origin, allowed in (("https://app.example.com", True), ("http://localhost:5173", False)):
            answer = await found.client.options("/v1/session-tokens", headers={"Origin": origin, **ask})
            assert (answer.headers.get("Access-Control-Allow-Origin") == origin) is allowed


async def test_cors_lets_in_this_machines_pages_by_default(keyed: Api) -> None:
    for origin, allowed in (("http://localhost:5173", True), ("https://evil.example.com", False)):
        answer = await keyed.client.get("/healthz", headers={"Origin": origin})
        assert (answer.headers.get("Access-Control-Allow-Origin") == origin) is allowed


async def test_a_large_body_is_not_read(keyed: Api) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1_000):
            yield b" " * 4_096

    headers = {"Content-Type": "application/json", **AS_ALICE}
    for body in (b" " * (MAX_BODY_BYTES + 1), endless()):
        answer = await keyed.client.post("/v1/chat", headers=headers, content=body)
        assert answer.status_code == 413
        assert "at most" in answer.json()["detail"]


async def test_what_cannot_be_used_is_named_and_not_sent_back(keyed: Api) -> None:
    for body in (
        b'{"user_id": 7, "ttl_s": "canary"}',
        b'{"user_id": "\\ud800 canary"}',
        b'{"user_id": canary',
        b"\xff",
    ):
        headers = {"Content-Type": "application/json", **AS_ALICE}
        answer = await keyed.client.post("/v1/session-tokens", headers=headers, content=body)
        assert answer.status_code in {400, 422}, body
        assert answer.json()["detail"]
        assert "canary" not in answer.text


async def test_the_configuration_is_shown_without_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secrets = {
        "api_keys": KEYS,
        "token_secret": "t" * 40,
        "GEMINI_API_KEY": "AIza-a-canary",
        "LANGFUSE_PUBLIC_KEY": "pk-lf-told",
        "LANGFUSE_SECRET_KEY": "sk-lf-a-canary",
        "langfuse_browser_url": "http://user:a-canary@langfuse.example.com",
    }
    async with api(monkeypatch, tmp_path, **secrets) as found:
        answer = await found.client.get("/v1/config", headers=AS_ALICE)
    told = answer.json()
    assert told["key_ids"] == ["alice", "bob"]
    assert told["open"] is False
    assert told["settings"]["gemini_api_key"] == told["settings"]["api_keys"] == "********"
    assert told["settings"]["max_sessions"] == "auto"
    assert told["settings"]["langfuse_browser_url"] == "http://********@langfuse.example.com"
    for secret in (KEY, "t" * 40, "canary"):
        assert secret not in answer.text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "voice.example.com", ""])
def test_a_server_without_keys_does_not_listen_to_others(host: str) -> None:
    with pytest.raises(SettingsError, match="VOICESPAN_API_KEYS=id:secret"):
        Door(Settings(host=host))
    Door(Settings(host=host, api_keys=KEYS))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("api_keys", "a:short", "VOICESPAN_API_KEYS: the secret of API key 1 needs"),
        ("api_keys", "# to do\n", "VOICESPAN_API_KEYS: there is no key in it"),
        ("allowed_origins", "app.example.com", "VOICESPAN_ALLOWED_ORIGINS"),
        ("trusted_proxies", "10.0.0.1/8", "VOICESPAN_TRUSTED_PROXIES"),
    ],
)
def test_what_cannot_be_used_is_named(setting: str, value: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Door(Settings(**{setting: value}))  # type: ignore[arg-type]
    assert told in str(caught.value)


def test_secrets_may_stand_in_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, text in (("GEMINI_API_KEY", "AIza-file\n"), ("VOICESPAN_API_KEYS", f"# ours\nalice:{KEY}\n")):
        (tmp_path / name).write_text(text)
        monkeypatch.setenv(name, "")
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    read_environment()
    settings = load_settings()
    assert settings.gemini_api_key is not None
    assert settings.gemini_api_key.get_secret_value() == "AIza-file"
    assert Door(settings).by_key(KEY).key_id == "alice"


def test_a_secrets_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VOICESPAN_TOKEN_SECRET", raising=False)
    monkeypatch.setenv("VOICESPAN_TOKEN_SECRET_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError, match=r"VOICESPAN_TOKEN_SECRET_FILE: .*nowhere cannot be read"):
        read_environment()
