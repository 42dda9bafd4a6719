"""Hostile HTTP: requests that schemathesis makes of the OpenAPI, right and wrong, and bytes that are hardly HTTP."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from fuzz.mutate import battered
from fuzz.tally import Tally

ANSWER_S = 20.0
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# Of routes that say so in the OpenAPI: what is not there, and what the model's side of it did wrong.
NO_FAULT_OF_OURS = {502, 503, 504}
REQUESTS = (
    b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/traces?limit=5 HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n",
    b"POST /v1/chat HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n"
    b'{"message": "hello"}',
    b"GET /ws/voice HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: voice.v1\r\n\r\n",
)


def from_openapi(url: str, inputs: int, seed: int, tally: Tally) -> None:
    """Requests that follow the schema, and requests that break it, for every operation."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = list(_operations(schema))
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    for operation in operations:
        for mode in modes:
            _play(operation, mode, max(1, inputs // (len(operations) * len(modes))), seed, tally)


def _operations(schema: schemathesis.BaseSchema) -> Iterator[APIOperation]:
    for found in schema.get_all_operations():
        yield found.ok()


def _play(operation: APIOperation, mode: GenerationMode, inputs: int, seed: int, tally: Tally) -> None:
    kind = f"rest {operation.label}"

    @seeded(seed)
    @settings(
        max_examples=inputs,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def judge(case: Case) -> None:
        response = case.call(timeout=ANSWER_S)
        tally.note(kind, str(response.status_code))
        checks = CHECKS[1:] if response.status_code in NO_FAULT_OF_OURS else CHECKS
        try:
            case.validate_response(response, checks=checks)
        except schemathesis.errors.FailureGroup as failures:  # type: ignore[attr-defined]
            for failure in failures.exceptions:
                tally.fault(f"{kind}: {failure.title}", f"{failure.message} {case.as_curl_command()}")

    try:
        judge()
    except Unsatisfiable:
        # A route without parameters has no wrong ones.
        if mode is GenerationMode.POSITIVE:
            raise


async def raw(port: int, inputs: int, seed: int, tally: Tally, at_once: int = 6) -> None:
    """Bytes that were once a request: an error of the 400s, an answer, or the end of the connection."""

    async def peer(number: int) -> None:
        rng = random.Random(f"{seed}-raw-{number}")
        while tally.inputs["raw http"] < inputs:
            sent = battered(rng.choice(REQUESTS), rng)
            outcome = await _exchange(port, sent)
            tally.note("raw http", outcome)
            if outcome.startswith("5") and outcome not in {"501", "502", "503", "504", "505"}:
                tally.fault(f"raw http was answered by {outcome}", sent)

    async with asyncio.TaskGroup() as tasks:
        for number in range(at_once):
            tasks.create_task(peer(number))


async def _exchange(port: int, sent: bytes) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        writer.write_eof()
        async with asyncio.timeout(ANSWER_S):
            line = await reader.readline()
        return line.split()[1].decode("ascii", "replace") if len(line.split()) > 1 else "closed"
    except (ConnectionError, TimeoutError) as error:
        return type(error).__name__
    finally:
        writer.close()
