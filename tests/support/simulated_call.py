"""A call without sockets: what the client sends goes in, what the service sends is collected."""

import asyncio
import math
import random
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from voicespan_simulator.call import Call
from voicespan_simulator.client_messages import Audio, FunctionResponse, ToolResponse
from voicespan_simulator.session import Session
from voicespan_simulator.wire_json import JsonObject, JsonValue, pick, pick_list, pick_object

ONE_SECOND = bytes(48_000)


def tone(seconds: float, rate_hz: int = 16_000, peak: int = 9_000) -> bytes:
    """200 Hz, at a rate that these divide."""
    period = array("h", (int(peak * math.sin(2 * math.pi * 200 * n / rate_hz)) for n in range(rate_hz // 200)))
    samples = round(seconds * rate_hz)
    return (period * (samples // len(period) + 1))[:samples].tobytes()


def noise(seconds: float, peak: int, rate_hz: int = 16_000) -> bytes:
    """White, and the same each time."""
    return array("h", random.Random(1).choices(range(-peak, peak + 1), k=round(seconds * rate_hz))).tobytes()


def silence(seconds: float, rate_hz: int = 16_000) -> bytes:
    return bytes(2 * round(seconds * rate_hz))


UTTERANCE = Audio(silence(0.5) + tone(1.0) + silence(1.2), 16_000)


def kind(message: JsonObject) -> str:
    """A message in the notation of a protocol trace: `A`, `A+T`, `sc{}`, `TC+usage` ..."""
    marks: list[str] = []
    if "serverContent" in message:
        content = pick_object(message, "serverContent")
        for part in pick_list(content, "modelTurn", "parts"):
            marks.append("A" if pick(part, "inlineData") else "TH")
        for key, mark in (
            ("inputTranscription", "I"),
            ("outputTranscription", "T"),
            ("generationComplete", "GC"),
            ("interrupted", "INT"),
            ("turnComplete", "TC"),
        ):
            if key in content:
                marks.append(mark + (".finished" if pick(content, key, "finished") else ""))
        marks = marks or ["sc{}"]
    for key, mark in (
        ("setupComplete", "setup"),
        ("sessionResumptionUpdate", "RU"),
        ("toolCall", "call"),
        ("toolCallCancellation", "cancel"),
        ("goAway", "goAway"),
    ):
        if key in message:
            marks.append(mark)
    if "voiceActivity" in message:
        marks.append(str(pick(message, "voiceActivity", "type")).removeprefix("ACTIVITY_"))
    if "usageMetadata" in message:
        marks.append("usage")
    return "+".join(marks) or "{}"


@dataclass
class Recorder:
    """A channel that keeps everything."""

    messages: list[JsonObject] = field(default_factory=list)
    closed: tuple[int, str] | None = None
    aborted: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def send(self, message: JsonObject) -> None:
        async with self.arrived:
            self.messages.append(message)
            self.arrived.notify_all()

    async def close(self, code: int, reason: str) -> None:
        async with self.arrived:
            self.closed = (code, reason)
            self.ended.set()
            self.arrived.notify_all()

    def abort(self) -> None:
        self.aborted = True
        self.ended.set()

    @property
    def kinds(self) -> list[str]:
        return [kind(message) for message in self.messages]

    @property
    def runs(self) -> str:
        """The kinds in one line, a repeated one once."""
        kinds = self.kinds
        return " ".join(k for i, k in enumerate(kinds) if i == 0 or k != kinds[i - 1])

    async def until(self, wanted: str, count: int = 1) -> None:
        async with self.arrived:
            await asyncio.wait_for(self.arrived.wait_for(lambda: self.kinds.count(wanted) >= count), 5)

    async def until_ended(self) -> None:
        await asyncio.wait_for(self.ended.wait(), 5)

    def usage(self) -> list[JsonObject]:
        return [pick_object(m, "usageMetadata") for m in self.messages if "usageMetadata" in m]

    def calls(self) -> list[JsonObject]:
        found = (pick_list(message, "toolCall", "functionCalls") for message in self.messages)
        return [call for calls in found for call in calls if isinstance(call, dict)]


@dataclass
class Caller:
    """A client in the middle of a call."""

    session: Session
    heard: Recorder
    call: Call

    async def say(self, utterance: Audio = UTTERANCE) -> None:
        await self.session.take(utterance)

    async def answer_calls(self, response: JsonValue = None) -> None:
        response = {"ok": True} if response is None else response
        await self.heard.until("call")
        for call in self.heard.calls():
            answered = FunctionResponse(str(call["id"]), str(call["name"]), response)
            await self.session.take(ToolResponse((answered,)))

    def modality(self, report: JsonObject, details: str) -> dict[str, object]:
        return {str(pick(d, "modality")): pick(d, "tokenCount") for d in pick_list(report, details)}


SETUP: JsonObject = {
    "generationConfig": {"responseModalities": ["AUDIO"]},
    "inputAudioTranscription": {},
    "outputAudioTranscription": {},
    "tools": [{"functionDeclarations": [{"name": "search_nearby"}, {"name": "navigate_to_location"}]}],
}

Dial = Callable[..., Caller]
