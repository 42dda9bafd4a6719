"""Langfuse's SDK beside the collector: it checks, links and scores, and it exports nothing."""

import base64
import itertools
import json
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from support.http_server import HttpServer, Request, Response
from voicespan.langfuse import LangfuseClient, LangfuseError

PROJECTS = {"data": [{"id": "project-1", "name": "Voice", "organization": {"id": "o", "name": "O"}, "metadata": {}}]}


_numbers = itertools.count(1)


class LangfuseApi:
    """The part of Langfuse's public API that is used: projects and scores, with Basic authentication."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        # The SDK keeps one set of threads per public key for the life of the process.
        self.public_key = f"pk-lf-{next(_numbers)}"
        self.server = HttpServer(self._respond)

    def _respond(self, request: Request) -> Response:
        self.requests.append(request)
        expected = "Basic " + base64.b64encode(f"{self.public_key}:sk-lf-1".encode()).decode()
        if request.headers.get("authorization") != expected:
            return Response(401, b'{"message":"Invalid credentials."}')
        if request.path.startswith("/api/public/projects"):
            return Response(200, json.dumps(PROJECTS).encode())
        if request.path.startswith("/api/public/scores"):
            scores = json.loads(request.body)
            bad = [{"message": "value out of range"} for score in scores if score["value"] > 100]
            if bad:
                return Response(207, json.dumps({"accepted": 0, "rejected": len(bad), "errors": bad}).encode())
            return Response(202, b'{"message":"Accepted"}')
        return Response(404, b"{}")

    def scores(self) -> list[dict[str, object]]:
        bodies = [json.loads(r.body) for r in self.requests if r.path.startswith("/api/public/scores")]
        return [score for body in bodies for score in body]


@pytest.fixture
def api() -> Iterator[LangfuseApi]:
    found = LangfuseApi()
    with found.server:
        yield found


@pytest.fixture
def client(api: LangfuseApi) -> Iterator[LangfuseClient]:
    made = LangfuseClient(api.public_key, "sk-lf-1", api.server.url)
    yield made
    made.close()


def test_right_keys_pass_the_check(client: LangfuseClient) -> None:
    assert client.check() is None


def test_wrong_keys_are_told_by_the_variables_that_hold_them(api: LangfuseApi) -> None:
    wrong = LangfuseClient("pk-lf-other", "sk-lf-other", api.server.url)
    assert "LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY" in str(wrong.check())
    wrong.close()


def test_a_langfuse_that_is_not_there_is_told() -> None:
    nowhere = LangfuseClient("pk-lf-nowhere", "sk-lf", "http://127.0.0.1:1")
    assert "http://127.0.0.1:1 cannot be reached" in str(nowhere.check())
    assert nowhere.trace_url("a" * 32) is None
    nowhere.close()


def test_a_link_leads_to_the_project(client: LangfuseClient, api: LangfuseApi) -> None:
    assert client.trace_url("a" * 32) == f"{api.server.url}/project/project-1/traces/{'a' * 32}"


def test_a_session_is_scored(client: LangfuseClient, api: LangfuseApi) -> None:
    client.score_session("s-7", "user_feedback", 1.0, "friendly")
    [score] = api.scores()
    expected = {"sessionId": "s-7", "name": "user_feedback", "value": 1.0, "comment": "friendly", "dataType": "NUMERIC"}
    assert {key: score.get(key) for key in expected} == expected
    assert score["id"] == "s-7-user_feedback"


def test_a_score_that_is_not_taken_is_told(client: LangfuseClient, api: LangfuseApi) -> None:
    with pytest.raises(LangfuseError, match="value out of range"):
        client.score_session("s-7", "user_feedback", 101.0)
    api.server.stop()
    with pytest.raises(LangfuseError, match="did not take the score"):
        client.score_session("s-7", "user_feedback", 1.0)


def test_scores_do_not_depend_on_the_sdks_own_tracing(api: LangfuseApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGFUSE_TRACING_ENABLED", "false")
    client = LangfuseClient(api.public_key, "sk-lf-1", api.server.url)
    client.score_session("s-7", "user_feedback", 1.0)
    assert len(api.scores()) == 1
    client.close()


def test_no_span_of_the_program_reaches_langfuse_by_its_sdk(client: LangfuseClient, api: LangfuseApi) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.get_tracer("voicespan").start_span("Turn 1", attributes={"gen_ai.operation.name": "chat"}).end()
    client.close()
    assert not any("otel" in request.path for request in api.requests)
    assert not isinstance(trace.get_tracer_provider(), TracerProvider), "the global provider is not ours to set"


@pytest.mark.parametrize("keys", [("", "sk"), ("pk", "")])
def test_empty_keys_are_refused(keys: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="public and a secret key"):
        LangfuseClient(*keys, "http://127.0.0.1:1")
