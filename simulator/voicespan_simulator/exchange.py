"""One exchange: the model's calls, its answer, the wait for the end of playback, and the report at the end."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from voicespan_simulator import server_messages as messages
from voicespan_simulator import usage
from voicespan_simulator.client_messages import FunctionResponse, Setup
from voicespan_simulator.conversation import Conversation, Handles
from voicespan_simulator.dialect import Dialect
from voicespan_simulator.line import Line
from voicespan_simulator.plan import Plan
from voicespan_simulator.profiles import Handle, Profile
from voicespan_simulator.scenario import Close, GoAway, Loss
from voicespan_simulator.tokens import Tokens
from voicespan_simulator.voice import Voice, seconds_of
from voicespan_simulator.wire_json import JsonObject, JsonValue

_BEFORE_END_OF_PLAYBACK_S = 0.2  # turnComplete comes that much before what was sent would have been heard


@dataclass(slots=True)
class Call:
    """What the exchanges of one connection have in common."""

    setup: Setup
    profile: Profile
    dialect: Dialect
    conversation: Conversation
    handles: Handles
    voice: Voice
    line: Line
    new_call_id: Callable[[], str]
    consumed_messages: int = 0

    @property
    def transcribes_output(self) -> bool:
        """Whether the words of answers are sent."""
        return self.setup.transcribe_output or self.profile.shape.transcribes_unasked

    async def send_handle(self) -> None:
        """Tells a handle for the conversation as it is now."""
        consumed = self.consumed_messages if self.setup.transparent else None
        handle = self.handles.save(self.conversation)
        await self.line.send(messages.resumption_update(handle, consumed))


@dataclass(slots=True)
class Exchange:
    """Plays a plan; cancel `play` and send what `cut` gives to interrupt it."""

    call: Call
    plan: Plan
    begun: bool = False  # something of it was sent
    closed: bool = False  # turnComplete was sent: there is nothing to interrupt
    _prompt: Tokens = field(default_factory=Tokens)
    _response: Tokens = field(default_factory=Tokens)
    _audio_bytes: int = 0
    _audio_messages: int = 0
    _words: str = ""
    _pending: dict[str, str] = field(default_factory=dict)
    _results: list[FunctionResponse] = field(default_factory=list)
    _answered: asyncio.Event = field(default_factory=asyncio.Event)

    async def play(self) -> None:
        """All of it, to turnComplete and, where the plan has one, to the connection's end."""
        self._prompt = self.call.conversation.context
        if self.plan.calls:
            await self._call_functions()
        if await self._speak():
            await self._complete()

    def answered(self, response: FunctionResponse) -> bool:
        """Takes a tool's answer; False where no call waits for it. Vertex lets the id be left out."""
        call_id = response.id or next((id_ for id_, name in self._pending.items() if name == response.name), "")
        if call_id not in self._pending:
            return False
        del self._pending[call_id]
        self._results.append(response)
        if not self._pending:
            self._answered.set()
        return True

    @property
    def pending_ids(self) -> list[str]:
        """Calls that no tool has answered yet."""
        return list(self._pending)

    def cut(self) -> list[JsonObject]:
        """What is sent when the exchange was cancelled: the report counts only what had been sent."""
        called = self._response.total > 0  # else the interruption came ahead of the call
        cancelled: list[JsonValue] = list(self._pending) if called else []
        cut: list[JsonObject] = [{"toolCallCancellation": {"ids": cancelled}}] if cancelled else []
        report = self._close_books()
        return [*cut, messages.interrupted(), messages.turn_complete(self.call.dialect, report, answered=False)]

    async def _step(self, step: messages.Step) -> None:
        await self.call.line.send(step.message, wait_s=step.wait_s)
        self.begun = True
        self._audio_bytes += step.audio_bytes
        self._audio_messages += step.audio_bytes > 0
        self._words += step.words

    async def _open(self, *, thinks: bool) -> None:
        call = self.call
        await call.line.pace.wait(call.profile.timing.begin_s)
        for step in messages.opening(
            call.profile, spoken=self.plan.spoken, thinks=thinks, transcribes=call.transcribes_output
        ):
            await self._step(step)

    async def _call_functions(self) -> None:
        call, shape, accounting = self.call, self.call.profile.shape, self.call.profile.accounting
        await self._open(thinks=shape.thinks_before_tools)
        self._pending = {call.new_call_id(): planned.name for planned in self.plan.calls}
        described: list[JsonValue] = [
            {"id": id_, "name": planned.name, "args": planned.args}
            for id_, planned in zip(self._pending, self.plan.calls, strict=True)
        ]
        for step in messages.tool_call(call.profile, described):
            await self._step(step)
        self._response = usage.function_calls(accounting, len(described))
        await self._answered.wait()
        characters = sum(len(json.dumps(result.response)) for result in self._results)
        context = call.conversation.context + self._response + usage.function_results(accounting, characters)
        if shape.closes_tool_call:
            for step in messages.closing_of_tool_call(call.profile, transcribes=call.transcribes_output):
                await self._step(step)
            report = usage.usage_metadata(call.dialect, self._prompt, self._response, audio_uncounted=True)
            await call.line.send(messages.turn_complete(call.dialect, report, answered=False))
            self._response = Tokens()
        call.conversation.context = context
        self._prompt = self._prompt + context if accounting.adds_prompts_of_tool_round else context
        if shape.unasked_handle is Handle.AFTER_TOOL_RESPONSE:
            await call.send_handle()

    async def _speak(self) -> bool:
        """The answer until it would have been heard; False where the connection ended in its middle."""
        call = self.call
        await self._open(thinks=not self.plan.calls)
        answer = self.plan.answer_to([result.response for result in self._results])
        pcm = call.voice.speak(answer)
        single_sample = call.conversation.answers % 2 == 0
        call.conversation.answers += 1
        steps = list(
            messages.spoken_answer(
                call.profile,
                call.dialect,
                answer.text,
                pcm,
                transcribes=call.transcribes_output,
                single_sample=single_sample,
            )
        )
        length_s = seconds_of(len(pcm))
        first_audio_at: float | None = None
        for number, step in enumerate(steps):
            if self.plan.hold == "generation" and number == len(steps) // 2:
                await call.line.pace.hold(length_s)
            await self._step(step)
            if step.audio_bytes:
                first_audio_at = first_audio_at or monotonic()
                if await self._ended_in_mid_answer():
                    return False
        await self._step(messages.Step(messages.generation_complete()))
        if self.plan.hold == "playback":
            await call.line.pace.hold(length_s)
        if first_audio_at is not None:
            played_at = first_audio_at + length_s - _BEFORE_END_OF_PLAYBACK_S
            await call.line.pace.wait(played_at - monotonic())
        return True

    async def _complete(self) -> None:
        call, ending = self.call, self.plan.ending
        await call.line.send(messages.turn_complete(call.dialect, self._close_books()))
        if call.setup.resumption:
            await call.send_handle()
        match ending:
            case GoAway(after_audio_messages=None):
                await self._go_away(ending)
            case GoAway() if not call.line.pace.real:
                await call.line.close(ending.code, ending.reason)
            case Close(after_audio_messages=None) | Loss(after_audio_messages=None):
                await self._end(ending)
            case _:
                pass

    async def _ended_in_mid_answer(self) -> bool:
        ending = self.plan.ending
        if ending is None or ending.after_audio_messages != self._audio_messages:
            return False
        if isinstance(ending, GoAway):
            await self._go_away(ending)
            return False
        await self._end(ending)
        return True

    async def _go_away(self, ending: GoAway) -> None:
        self.call.conversation.mark_ended()
        line = self.call.line
        await line.send({"goAway": {"timeLeft": messages.duration(ending.time_left_s)}})
        if line.pace.real or self.closed:
            line.close_later(ending.time_left_s, ending.code, ending.reason)

    async def _end(self, ending: Close | Loss) -> None:
        self.call.conversation.mark_ended()
        if isinstance(ending, Close):
            await self.call.line.close(ending.code, ending.reason)
        else:
            self.call.line.abort()

    def _close_books(self) -> JsonObject:
        """The report; what was said becomes part of the context."""
        self.closed = True
        accounting, conversation = self.call.profile.accounting, self.call.conversation
        speech = usage.model_speech(accounting, seconds_of(self._audio_bytes), self._words)
        response = self._response + speech
        conversation.context += usage.remembered(accounting, speech)
        thinks = accounting.thoughts_in_tool_rounds or not self.plan.calls
        thoughts = accounting.thoughts if thinks and response.total else 0
        return usage.usage_metadata(self.call.dialect, self._prompt, response, thoughts)
