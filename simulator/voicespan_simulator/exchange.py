"""One exchange: the model's calls, its answer, the wait for the end of playback, and the report at the end."""

import asyncio
import json
from dataclasses import dataclass, field
from time import monotonic, time_ns

from voicespan_simulator import server_messages as messages
from voicespan_simulator import usage
from voicespan_simulator.call import Call, described, note_answer
from voicespan_simulator.client_messages import FunctionResponse
from voicespan_simulator.deeds import (
    CallDeed,
    CompleteDeed,
    ExchangeDeed,
    GenerationDeed,
    GoAwayDeed,
    InterruptedDeed,
    Interruption,
    TurnDeed,
)
from voicespan_simulator.plan import Plan
from voicespan_simulator.profiles import Handle
from voicespan_simulator.scenario import Answer, Close, Ending, GoAway, Instead, Loss, Stop
from voicespan_simulator.tokens import Tokens, text_tokens
from voicespan_simulator.voice import BYTES_PER_S, seconds_of
from voicespan_simulator.wire_json import JsonObject

_BEFORE_END_OF_PLAYBACK_S = 0.2  # turnComplete comes that much before what was sent would have been heard
_ARRIVES_S = 0.02
_AUDIBLE_BYTES = BYTES_PER_S // 100


@dataclass(slots=True)
class Exchange:
    """Plays a plan; to interrupt it, cancel `play` and call `cut`. `deed` tells what was done."""

    call: Call
    plan: Plan
    deed: ExchangeDeed
    begun: bool = False  # something of it was sent
    closed: bool = False  # its last turnComplete was sent: there is nothing to interrupt
    _prompt: Tokens = field(default_factory=Tokens)
    _response: Tokens = field(default_factory=Tokens)
    _audio_bytes: int = 0
    _audio_messages: int = 0
    _words: str = ""
    _pending: dict[str, CallDeed] = field(default_factory=dict)
    _to_cancel: set[str] = field(default_factory=set)  # instead of waiting for their answers
    _results: list[FunctionResponse] = field(default_factory=list)
    _answered: asyncio.Event = field(default_factory=asyncio.Event)
    _speaking: bool = False  # and not yet where the plan wants to be interrupted
    _held: asyncio.Event = field(default_factory=asyncio.Event)
    _turn: TurnDeed | None = None
    _generation_ns: int | None = None  # it has begun, and put out nothing yet

    async def play(self) -> None:
        """All of it, to turnComplete and, where the plan has one, to the connection's end."""
        plan = self.plan
        self._prompt = self.call.conversation.context
        if plan.hold == "start":
            await self.call.line.pace.hold(seconds_of(len(self.call.voice.speak(plan.answer or Answer(plan.said)))))
        if plan.withholds_handle:
            await self.call.line.send(messages.withheld_handle())
        if plan.strange:
            self.call.deed.strange_messages += 1
            await self.call.line.send(messages.strange())
        if plan.filler is not None:
            await self._speak(plan.filler)
            await self._complete_turn("IN_PROGRESS")
        if plan.calls:
            await self._call_functions()
            if plan.ending is not None and plan.ending.in_tools and await self._end(plan.ending):
                return
            if plan.meanwhile is None:
                await self._take_results()
        if plan.meanwhile is None and plan.instead is not None:
            await self._do_instead(plan.instead)
            return
        answer = plan.meanwhile or plan.answer_to([result.response for result in self._results])
        if await self._speak(answer):
            await self._complete("IDLE" if plan.filler else None)

    @property
    def disturbed(self) -> bool:
        """Whether audio that comes now is more than the service can take: a tool runs."""
        return self.plan.quiet_tools and bool(self._pending)

    def answered(self, response: FunctionResponse) -> bool:
        """Takes a tool's answer; False where no call waits for it. Vertex lets the id be left out."""
        by_name = (id_ for id_, deed in self._pending.items() if deed.name == response.name)
        call_id = response.id or next(by_name, "")
        deed = self._pending.pop(call_id, None)
        if deed is None:
            return False
        note_answer(deed, response, time_ns())
        self._results.append(response)
        self._to_cancel.discard(call_id)
        if self._pending.keys() <= self._to_cancel:
            self._answered.set()
        return True

    async def reach_hold(self, playing: "asyncio.Task[None]") -> None:
        """At fast pace a user can be quicker than an answer: it gets to where it is to be interrupted first."""
        if self._speaking and not self.call.line.pace.real:
            held = asyncio.create_task(self._held.wait())
            await asyncio.wait({held, playing}, return_when=asyncio.FIRST_COMPLETED)
            held.cancel()

    async def cut(self, by: Interruption) -> None:
        """To be called when `play` was cancelled: the report counts only what had been sent."""
        call = self.call
        called = self._response.total > 0  # else the interruption came ahead of the call
        if called and self._pending:
            await self._cancel(list(self._pending))
        turn = self._now()
        turn.interrupted = InterruptedDeed(time_ns(), by)
        await call.line.send(messages.interrupted())
        self.closed = True
        await self._send_complete(self._report(), answered=False)

    async def cut_late(self, by: Interruption) -> None:
        """To be called when the turn is complete, and may still be played."""
        if self.plan.interrupted_late and self.deed.turns and self.deed.turns[-1].interrupted_late is None:
            self.deed.turns[-1].interrupted_late = InterruptedDeed(time_ns(), by)
            await self.call.line.send(messages.interrupted())

    async def _step(self, step: messages.Step) -> None:
        await self.call.line.pace.wait(step.wait_s)
        if step.output:
            self._note_output(step, time_ns())
        self.begun = True
        self._audio_bytes += step.audio_bytes
        self._audio_messages += step.audio_bytes > 0
        self._words += step.words
        await self.call.line.send(step.message)

    async def _open(self, *, thinks: bool) -> None:
        call = self.call
        await call.line.pace.wait(call.profile.timing.begin_s)
        self._generation_ns = time_ns()
        for step in messages.opening(
            call.profile, spoken=self.plan.spoken, thinks=thinks, transcribes=call.transcribes_output
        ):
            await self._step(step)

    # --- tools ----------------------------------------------------------------------------------------------------

    async def _call_functions(self) -> None:
        call, plan = self.call, self.plan
        blocking = plan.meanwhile is None
        await self._open(thinks=call.profile.shape.thinks_before_tools)
        for planned in plan.calls:
            deed = CallDeed(call.new_call_id(), planned.name, planned.args, time_ns(), blocking, planned.unnamed)
            self._now().calls.append(deed)
            if blocking:
                self._pending[deed.id] = deed
            else:
                call.running[deed.id] = (deed, plan)
            if planned.cancel == "before_answer":
                self._to_cancel.add(deed.id)
        for step in messages.tool_call(call.profile, [described(deed) for deed in self._now().calls]):
            await self._step(step)
        self._response += usage.function_calls(call.profile.accounting, len(plan.calls))

    async def _take_results(self) -> None:
        """Waits until the tools have answered; what was to be cancelled is cancelled now."""
        call, shape, accounting = self.call, self.call.profile.shape, self.call.profile.accounting
        if not self._pending.keys() <= self._to_cancel:
            await self._answered.wait()
        ids = [deed.id for deed in self._now().calls if deed.id in self._pending]
        for planned, deed in zip(self.plan.calls, self._now().calls, strict=True):
            if planned.cancel == "after_answer" and deed.answers:
                ids.append(deed.id)
        if ids:
            await self._cancel(ids)
        characters = sum(len(json.dumps(result.response)) for result in self._results)
        context = call.conversation.context + self._response + usage.function_results(accounting, characters)
        if shape.closes_tool_call:
            for step in messages.closing_of_tool_call(call.profile, transcribes=call.transcribes_output):
                await self._step(step)
            self._note_complete_generation()
            report = usage.usage_metadata(call.dialect, self._prompt, self._response, audio_uncounted=True)
            await self._send_complete(report, answered=False)
            self._response = Tokens()
        call.conversation.context = context
        self._prompt = self._prompt + context if accounting.adds_prompts_of_tool_round else context
        if shape.unasked_handle is Handle.AFTER_TOOL_RESPONSE:
            await call.send_handle()

    async def _cancel(self, ids: list[str]) -> None:
        for deed in self._now().calls:
            if deed.id in ids:
                deed.cancelled_ns = time_ns()
                self.call.cancelled[deed.id] = deed
                self._pending.pop(deed.id, None)
        await self.call.line.send(messages.cancellation(ids))

    # --- the answer -----------------------------------------------------------------------------------------------

    async def _speak(self, answer: Answer) -> bool:
        """An answer until it would have been heard; False where the connection ended in its middle."""
        call, plan = self.call, self.plan
        if plan.meanwhile is None:  # else the generation that called goes on
            await self._open(thinks=not plan.calls)
        self._speaking = plan.hold in {"first_audio", "generation", "playback"}
        pcm = call.voice.speak(answer) if answer.audio else b""
        pcm = pcm[: round(len(pcm) // 2 * answer.heard) * 2]
        length_s = seconds_of(len(pcm))
        steps = self._steps(answer, pcm)
        first_audio_at: float | None = None
        for number, step in enumerate(steps):
            if plan.hold == "generation" and number == len(steps) // 2:
                await self._hold(length_s)
            await self._step(step)
            if step.audio_bytes:
                if first_audio_at is None:
                    first_audio_at = monotonic()
                    if plan.hold == "first_audio":
                        await self._hold(length_s)
                    await self._send_late_input_transcript()
                ending = plan.ending
                due = ending is not None and ending.after_audio_messages == self._audio_messages
                if ending is not None and due and await self._end(ending):
                    return False
        await self._step(messages.Step(messages.generation_complete()))
        self._note_complete_generation()
        if plan.transcripts == "late":
            await self._send_words(answer, pcm)
        if plan.hold == "playback":
            await self._hold(length_s)
        if first_audio_at is not None:
            played_at = first_audio_at + length_s - _BEFORE_END_OF_PLAYBACK_S
            await call.line.pace.wait(played_at - monotonic())
        return True

    async def _hold(self, seconds: float) -> None:
        self._speaking = False
        self._held.set()
        await self.call.line.pace.hold(seconds)

    def _steps(self, answer: Answer, pcm: bytes) -> list[messages.Step]:
        call, conversation = self.call, self.call.conversation
        transcribes = call.transcribes_output and self.plan.transcripts is None
        single_sample = conversation.answers % 2 == 0
        conversation.answers += 1
        if not answer.audio:
            return list(messages.transcript(call.profile, answer.text)) if transcribes else []
        return list(
            messages.spoken_answer(
                call.profile,
                call.dialect,
                answer.text,
                pcm,
                transcribes=transcribes,
                single_sample=single_sample,
                whole=answer.whole,
            )
        )

    async def _send_words(self, answer: Answer, pcm: bytes) -> None:
        """The words of an answer whose audio is complete."""
        if self.call.transcribes_output:
            for step in messages.transcript(self.call.profile, answer.text, pcm):
                await self._step(step)

    async def _send_late_input_transcript(self) -> None:
        if self.plan.transcripts == "late" and self.plan.spoken and self.call.transcribes_input:
            for message in messages.input_transcript(self.call.profile, self.plan.said):
                await self.call.line.send(message)
            self.deed.user.words = self.plan.said

    async def _do_instead(self, instead: Instead) -> None:
        match instead:
            case "waiting":
                self._now().waiting_ns = time_ns()
                await self._step(messages.Step(messages.waiting()))
                await self._complete()
            case "empty":
                await self._complete()
            case "mute" | "deaf":
                pass

    # --- the end of a turn ----------------------------------------------------------------------------------------

    async def _complete(self, status: str | None = None) -> None:
        """The end of the exchange, and of the connection where the plan says so."""
        call, plan = self.call, self.plan
        self.closed = True
        await self._complete_turn(status)
        if plan.transcripts == "after_turn" and plan.answer:
            await self._send_words(plan.answer, call.voice.speak(plan.answer))
        if call.setup.resumption:
            await call.send_handle()
        ending = plan.ending
        if ending is None:
            return
        if ending.after_audio_messages is None and not ending.in_tools:
            await self._end(ending)
        elif isinstance(ending, GoAway) and not call.line.pace.real:
            await call.line.close(ending.code, ending.reason)

    async def _complete_turn(self, status: str | None) -> None:
        await self._send_complete(self._report(), status=status, reason=self.plan.complete_reason)
        if self.plan.transcripts == "after_turn" and status != "IN_PROGRESS":
            self._turn = self.deed.turns[-1]  # its words are still to come

    async def _send_complete(
        self, report: JsonObject, *, answered: bool = True, status: str | None = None, reason: str | None = None
    ) -> None:
        """turnComplete, with its usage, or ahead of it, or without any."""
        call, mode = self.call, self.plan.usage
        turn = self._now()
        together = mode not in {"missing", "late"}
        complete = CompleteDeed(time_ns(), status, reason, None if mode == "missing" else report, None)
        complete.usage_ns = complete.at_ns if together else None
        turn.completes.append(complete)
        if status != "IN_PROGRESS":
            self._turn = None
        sent = report if together else None
        await call.line.send(
            messages.turn_complete(call.dialect, sent, answered=answered, status=status, reason=reason)
        )
        if mode == "late":
            complete.usage_ns = time_ns()
            await call.line.send({"usageMetadata": report})

    def _report(self) -> JsonObject:
        """What was sent since the last report; what was said becomes part of the context."""
        accounting, conversation = self.call.profile.accounting, self.call.conversation
        speech = usage.model_speech(accounting, seconds_of(self._audio_bytes), self._words)
        uncounted = self.plan.usage == "audio_uncounted" and self._audio_bytes > 0
        if uncounted:
            speech = Tokens(text=text_tokens(len(self._words)))
        response = self._response + speech
        conversation.context += usage.remembered(accounting, speech)
        thinks = accounting.thoughts_in_tool_rounds or not self.plan.calls
        thoughts = accounting.thoughts if thinks and response.total else 0
        report = usage.usage_metadata(self.call.dialect, self._prompt, response, thoughts, audio_uncounted=uncounted)
        self._prompt, self._response = conversation.context, Tokens()
        self._audio_bytes, self._words = 0, ""
        return report

    async def _end(self, ending: Ending) -> bool:
        """What the scenario has for the connection; whether nothing more is sent over it, of this exchange at least."""
        call = self.call
        call.conversation.mark_ended()
        match ending:
            case GoAway():
                call.deed.go_away = GoAwayDeed(time_ns(), ending.time_left_s)
                await call.line.send({"goAway": {"timeLeft": messages.duration(ending.time_left_s)}})
                if call.line.pace.real or self.closed:
                    call.line.close_later(ending.time_left_s, ending.code, ending.reason)
                return False
            case Close():
                await call.line.close(ending.code, ending.reason)
            case Loss():
                # What was sent before it has arrived: an abort alone would drop what the socket still holds.
                await asyncio.sleep(_ARRIVES_S)
                call.line.abort()
            case Stop():
                pass
        return True

    # --- deeds ----------------------------------------------------------------------------------------------------

    def _now(self) -> TurnDeed:
        """The turn that is being played."""
        if self._turn is None:
            self._turn = TurnDeed()
            self.deed.turns.append(self._turn)
        return self._turn

    def _note_output(self, step: messages.Step, now_ns: int) -> None:
        turn = self._now()
        if turn.first_content_ns is None:
            turn.first_content_ns = now_ns
        turn.last_content_ns = now_ns
        if self._generation_ns is not None:
            turn.generations.append(GenerationDeed(self._generation_ns))
            self._generation_ns = None
            turn.words = f"{turn.words.rstrip()} " if turn.words else ""
        turn.words += step.words
        turn.audio_ms = round(turn.audio_ms + seconds_of(step.audio_bytes) * 1000, 3)
        if turn.first_audio_ns is None and turn.audio_ms >= seconds_of(_AUDIBLE_BYTES) * 1000:
            turn.first_audio_ns = now_ns

    def _note_complete_generation(self) -> None:
        turn = self._now()
        if turn.generations:
            turn.generations[-1].complete_ns = time_ns()
