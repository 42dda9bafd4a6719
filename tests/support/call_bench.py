"""A call of the server in this process: a client that the test is, the real google-genai client, a simulator."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.caller import speech
from support.received import ReceivedSpan
from support.telling import Recorder
from truth.deeds import read_deeds
from voicespan import Identity, VoiceSession
from voicespan.events import Close, Event
from voicespan_server.call import Call
from voicespan_server.hangup import HungUp
from voicespan_server.live import connect_to
from voicespan_server.model_link import Handle
from voicespan_server.places.embedded import EmbeddedPlaces
from voicespan_server.places.provider import PlacesProvider
from voicespan_server.protocol import TurnTaking
from voicespan_server.settings import Settings
from voicespan_server.tools import TOOLS, Toolbox
from voicespan_simulator.deeds import ConnectionDeed
from voicespan_simulator.process import SimulatorProcess

FRAME_BYTES = 1_280  # 40 ms
Message = dict[str, Any]


class Client:
    """A client's socket: what it sends is queued by the test, what it is sent is kept."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[str | bytes | HungUp] = asyncio.Queue()
        self.sent: list[str | bytes] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.news = asyncio.Condition()

    async def receive(self) -> str | bytes:
        item = await self.incoming.get()
        if isinstance(item, HungUp):
            raise item
        return item

    def take_audio(self, *_: object) -> None:
        pass

    def write_audio(self, _: bytes) -> bool:
        return False

    async def send_text(self, text: str) -> None:
        await self._keep(text)

    async def send_audio(self, data: bytes) -> None:
        await self._keep(data)

    async def _keep(self, item: str | bytes) -> None:
        await self.reads.wait()
        self.sent.append(item)
        async with self.news:
            self.news.notify_all()


class CallBench:
    """A running call, and its client's side."""

    def __init__(
        self, call: Call, client: Client, recorder: Recorder, running: asyncio.Task[HungUp], events: list[Event]
    ) -> None:
        self.call, self.client, self.recorder, self.running = call, client, recorder, running
        self.events = events  # what the session was told

    @property
    def messages(self) -> list[Message]:
        """What the client was told."""
        return [json.loads(item) for item in self.client.sent if isinstance(item, str)]

    @property
    def audio_bytes(self) -> int:
        return sum(len(item) for item in self.client.sent if isinstance(item, bytes))

    def of(self, kind: str) -> list[Message]:
        return [message for message in self.messages if message["type"] == kind]

    def send(self, *messages: Message) -> None:
        for message in messages:
            self.client.incoming.put_nowait(json.dumps(message))

    def type_text(self, text: str = "Hello there.") -> None:
        self.send({"type": "text", "text": text})

    def say(self, seconds: float = 0.5, silence_s: float = 1.5) -> None:
        """An utterance, as fast as it is taken."""
        pcm = speech(seconds) + bytes(int(silence_s * 32_000))
        for start in range(0, len(pcm), FRAME_BYTES):
            self.client.incoming.put_nowait(pcm[start : start + FRAME_BYTES])

    async def until(self, wanted: Callable[[CallBench], bool], timeout_s: float = 20.0) -> None:
        """Until something is true of what the client was sent."""

        async def wait() -> None:
            async with self.client.news:
                await self.client.news.wait_for(lambda: wanted(self))

        waiting = asyncio.create_task(wait())
        async with asyncio.timeout(timeout_s):
            await asyncio.wait({waiting, self.running}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            assert wanted(self), f"the call ended with {self.running.result().close}; {self.messages}"

    async def told(self, kind: str, count: int = 1) -> Message:
        """The message of a kind, and of a count, once it was told."""
        await self.until(lambda bench: len(bench.of(kind)) >= count)
        return self.of(kind)[count - 1]

    async def ask(self) -> Message:
        """Say something; returns the `turn.completed` of the next turn."""
        done = len(self.of("turn.completed"))
        self.say()
        return await self.told("turn.completed", done + 1)

    async def vanish(self) -> HungUp:
        """The client's connection is lost."""
        self.client.incoming.put_nowait(HungUp(Close(1006, "", "client")))
        return await self.end()

    async def hang_up(self) -> HungUp:
        self.send({"type": "bye"})
        return await self.end()

    async def end(self) -> HungUp:
        """How the call ended; waits for it."""
        async with asyncio.timeout(20):
            return await asyncio.shield(self.running)

    def spans(self, name: str) -> list[ReceivedSpan]:
        """Those that have ended, of a name or beginning with it, in their order."""
        found = [span for span in self.recorder.spans() if span.name.startswith(name)]
        return sorted(found, key=lambda span: span.start_ns)


class KeepingSession(VoiceSession):
    """A session that keeps what it is told."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.events: list[Event] = []
        super().__init__(*args, **kwargs)

    def feed(self, event: Event, at_ns: int | None = None) -> None:
        self.events.append(event)
        super().feed(event, at_ns)


class Simulated:
    """A simulator that waits for nothing and writes down what it does."""

    def __init__(self, process: SimulatorProcess, deeds: Path) -> None:
        self._process = process
        self._deeds = deeds
        self._since_ns = 0

    @asynccontextmanager
    async def call(
        self,
        scenario: str,
        *,
        places: PlacesProvider | None = None,
        tool_timeout_s: float | None = None,
        turns: TurnTaking = "auto",
        handle: Handle | None = None,
        **settings: object,
    ) -> AsyncIterator[CallBench]:
        """A call that plays a scenario, ended with the context at the latest."""
        self._since_ns = time.time_ns()
        chosen = Settings(
            backend="simulator",
            simulator_url=self._process.base_url,
            simulator_ca_file=self._process.ca_file,
            simulator_scenario=scenario,
            max_uplink_ms=20_000,
            max_audio_speed=0,
            **settings,
        )
        upstream = connect_to(chosen)
        recorder, client = Recorder(Identity("session-1", backend="simulator")), Client()
        session = KeepingSession(
            recorder.identity, upstream.model, tracer=recorder.tracer, stall_after_s=chosen.stall_after_s or None
        )
        toolbox = Toolbox(places or EmbeddedPlaces(), TOOLS if tool_timeout_s is None else hurried(tool_timeout_s))
        call = Call(client, session, upstream, chosen, toolbox, turns=turns, handle=handle)
        running = asyncio.create_task(call.run(lambda restored: {"type": "ready", "restored": restored}))
        bench = CallBench(call, client, recorder, running, session.events)
        try:
            yield bench
        finally:
            client.reads.set()
            if not running.done():
                await bench.vanish()

    async def deeds(self, connections: int) -> list[ConnectionDeed]:
        """What the service did in the last call, once so many of its connections have ended."""
        await eventually(lambda: len(self._deeds_since()) >= connections)
        return self._deeds_since()

    def _deeds_since(self) -> list[ConnectionDeed]:
        # The last connections of the call before may end when this one has begun.
        found = read_deeds(self._deeds).values() if self._deeds.exists() else []
        return [deed for deeds in found for deed in deeds if deed.opened_ns >= self._since_ns]


async def eventually(wanted: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Until something is true of which nobody tells."""
    async with asyncio.timeout(timeout_s):
        while not wanted():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


def hurried(timeout_s: float) -> dict[str, Any]:
    """The tools, with less time."""
    from dataclasses import replace

    return {name: replace(tool, timeout_s=timeout_s) for name, tool in TOOLS.items()}
