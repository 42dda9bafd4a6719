"""A hostile model: it sends mutated messages through the real google-genai client, and closes as it likes.

A lane is a call of ours: its client types the lane's name, which is how the model knows which messages to send, and
the resumption handle is the name again, for when the server dials anew. Behind each batch the model says a marker; the
client has to hear it, or to be told in plain words that the model is gone.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from fuzz.mutate import battered, mutated
from fuzz.tally import Tally
from support.played import MODELS, SCENARIOS, played
from voicespan_server.client import CallError, call
from voicespan_server.server_messages import Transcript

ANSWER_S = 20.0
ASK_AGAIN_S = 1.0
# The call may end so, told to its client; the marker was not heard then.
MAY_END = {4429, 4502, 4504}
NAME = re.compile(rb"lane-\d+-\d+")
CLOSES = (1000, 1001, 1003, 1007, 1008, 1011, 1013, 3000, 4999)


@dataclass
class Lane:
    """One call's share: messages that still have to be sent, and the marker behind them."""

    name: str
    messages: list[str | bytes] = field(default_factory=list)
    marker: str = ""
    ends_with: int | None = None
    sent: int = 0


class HostileModel:
    """The service. `base_url` and `ca_file` are a simulator's, as far as the server can tell."""

    def __init__(self) -> None:
        self.lanes: dict[str, Lane] = {}
        self._open = 0
        self._idle = asyncio.Event()
        self.base_url = ""
        self.ca_file = Path()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[HostileModel]:
        """Between entry and exit it can be dialled."""
        with tempfile.TemporaryDirectory(prefix="voicespan-fuzz-") as folder:
            authority = trustme.CA()
            self.ca_file = Path(folder) / "ca.pem"
            authority.cert_pem.write_to_path(str(self.ca_file))
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            authority.issue_cert("127.0.0.1").configure_cert(context)
            async with serve(self._handle, "127.0.0.1", 0, ssl=context, compression=None, max_size=None) as listening:
                port = next(iter(listening.sockets)).getsockname()[1]
                self.base_url = f"https://127.0.0.1:{port}"
                yield self

    async def left(self, within_s: float) -> int:
        """Connections that are still open after a while; none should be."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._open:
                    await self._idle.wait()
        return self._open

    async def _handle(self, socket: ServerConnection) -> None:
        self._open += 1
        self._idle.clear()
        try:
            setup = await socket.recv()
            await socket.send(json.dumps({"setupComplete": {}}).encode())
            if lane := self._named_in(setup):  # as the handle
                await self._send(socket, lane)
            async for frame in socket:
                if lane := self._named_in(frame):  # as what its user typed
                    await self._send(socket, lane)
        except ConnectionClosed:
            pass
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()

    def _named_in(self, frame: str | bytes) -> Lane | None:
        found = NAME.search(_bytes(frame))
        return self.lanes.get(found[0].decode()) if found else None

    async def _send(self, socket: ServerConnection, lane: Lane) -> None:
        await socket.send(json.dumps({"sessionResumptionUpdate": {"newHandle": lane.name, "resumable": True}}))
        while lane.messages:
            frame = lane.messages.pop(0)
            lane.sent += 1
            # Text that is no UTF-8 goes as such: the frame's type is the peer's to choose.
            await socket.send(frame if isinstance(frame, str) and frame.isascii() else _bytes(frame))
        if lane.ends_with is not None:
            code, lane.ends_with = lane.ends_with, None
            await socket.close(code, "as it likes")
            return
        await socket.send(json.dumps({"serverContent": {"outputTranscription": {"text": lane.marker}}}).encode())


def _bytes(frame: str | bytes) -> bytes:
    return frame.encode("utf-8", "surrogatepass") if isinstance(frame, str) else frame


async def corpus() -> list[Mapping[str, Any]]:
    """Each kind of message that the simulator knows, in both dialects, with little audio."""
    found: dict[str, Mapping[str, Any]] = {}
    for model in MODELS:
        for scenario in SCENARIOS:
            async for message in played(scenario, model):
                text = json.dumps(_shortened(message))
                found.setdefault(text, json.loads(text))
                if len(found) > 3000:
                    return list(found.values())
    return list(found.values())


def _shortened(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _shortened(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shortened(inner) for inner in value]
    return value[:640] if isinstance(value, str) and len(value) > 640 else value


def _batch(messages: list[Mapping[str, Any]], rng: random.Random) -> Iterator[str | bytes]:
    for _ in range(rng.randrange(5, 40)):
        message = rng.choice(messages)
        draw = rng.random()
        if draw < 0.15:
            yield json.dumps(message)
        elif draw < 0.2:
            yield battered(rng.randbytes(rng.randrange(64)), rng)
        else:
            yield mutated(message, rng)


async def play(model: HostileModel, url: str, inputs: int, seed: int, tally: Tally, *, at_once: int = 6) -> None:
    """Have `inputs` messages sent to calls, some at once."""
    messages = await corpus()
    assert len(messages) > 100

    async def lane(number: int) -> None:
        rng = random.Random(f"{seed}-model-{number}")
        while tally.inputs["model"] < inputs:
            own = Lane(f"lane-{number}-{rng.randrange(1 << 30)}", list(_batch(messages, rng)))
            own.marker = f"marker of {own.name}"
            if rng.random() < 0.05:
                own.ends_with = rng.choice(CLOSES)
            model.lanes[own.name] = own
            whole = list(own.messages)
            try:
                outcome = await _call(url, own)
            except (CallError, OSError, TimeoutError) as error:
                outcome = f"fault: {type(error).__name__} {error}"
            del model.lanes[own.name]
            if outcome.startswith("fault"):
                tally.fault(outcome, whole[max(0, own.sent - 3) : own.sent + 1])
            tally.inputs["model"] += own.sent
            tally.outcomes[f"model: {outcome[:40]}"] += 1

    async with asyncio.TaskGroup() as tasks:
        for number in range(at_once):
            tasks.create_task(lane(number))


async def _call(url: str, lane: Lane) -> str:
    """What became of the call: it went on, or how it was ended."""
    async with call(url, microphone=False) as running:

        def heard(_: object) -> bool:
            return any(lane.marker in message.text for message in running.of(Transcript))

        async with asyncio.timeout(ANSWER_S):
            while True:
                try:
                    await running.type_text(lane.name)
                    await running.wait_for(heard, ASK_AGAIN_S)
                    break
                except TimeoutError:
                    continue
                except (CallError, ConnectionClosed):
                    with suppress(TimeoutError):
                        await running.wait_until_over(5)
                    code = running.close_code
                    return f"closed with {code}" if code in MAY_END else f"fault: {code} {running.close_reason}"
        await running.hang_up()
        return "goes on" if running.close_code == 1000 else f"fault: a goodbye was closed with {running.close_code}"
