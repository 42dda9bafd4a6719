"""The input side of a call: whose turn it is, what interrupts, and which exchange comes next."""

import asyncio
import json
import logging
from collections import deque
from time import time_ns

from voicespan_simulator import server_messages as messages
from voicespan_simulator import usage
from voicespan_simulator.call import Call, note_answer
from voicespan_simulator.client_messages import (
    INTERNAL_ERROR,
    POLICY_VIOLATION,
    ActivityEnd,
    ActivityStart,
    Audio,
    AudioStreamEnd,
    ClientContent,
    ClientMessage,
    FunctionResponse,
    Picture,
    RefusedError,
    Text,
    ToolResponse,
)
from voicespan_simulator.deeds import ExchangeDeed, Interruption, UserDeed
from voicespan_simulator.exchange import Exchange
from voicespan_simulator.hearing import Hearing
from voicespan_simulator.plan import Plan, plan_of_greeting, plan_of_text, plan_of_turn
from voicespan_simulator.profiles import Handle
from voicespan_simulator.tokens import Tokens, text_tokens
from voicespan_simulator.wire_json import JsonObject

_AFTER_SETUP_S = 0.005

_log = logging.getLogger(__name__)


class Session:
    """One connection after its setup: feed it the client's messages."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._hearing = Hearing(call.setup.silence_s)
        self._exchange: Exchange | None = None
        self._playing: asyncio.Task[None] | None = None
        self._waiting: deque[tuple[Plan, ExchangeDeed]] = deque()  # what is to be said when nothing else is
        self._pictures = 0
        self._taken_back = False
        self._seeds_history = call.setup.seeds_history

    async def begin(self) -> None:
        """Answers the setup."""
        call = self._call
        if call.conversation.scenario.setup is not None:
            call.dead = True
            if call.conversation.scenario.setup == "error":
                await call.line.send({"error": {"message": "The setup cannot be read.", "status": "INVALID_ARGUMENT"}})
            return
        complete: JsonObject = {}
        if call.dialect.session_id:
            complete["sessionId"] = call.new_call_id()
        await call.line.pace.wait(call.profile.timing.setup_s)
        await call.line.send({"setupComplete": complete})
        call.deed.set_up_ns = time_ns()
        if call.dead:
            return
        if call.setup.resumption or call.profile.shape.unasked_handle is Handle.AT_START:
            await call.line.pace.wait(_AFTER_SETUP_S)
            await call.send_handle()
        greeting = call.conversation.scenario.greeting
        if greeting is not None and call.setup.handle is None:
            self._play(plan_of_greeting(greeting), ExchangeDeed(UserDeed("none")))

    async def end(self) -> None:
        """The connection is gone."""
        await self._stop_playing()
        await self._call.line.hang_up()

    async def take(self, message: ClientMessage) -> None:
        """One message of the client; raises `RefusedError` for what the service answers by closing."""
        call = self._call
        call.consumed_messages += 1
        if isinstance(message, Audio):
            call.deed.audio_ms = round(call.deed.audio_ms + len(message.pcm) * 500 / message.rate_hz, 3)
        if call.dead:
            return
        match message:
            case Audio():
                if self._exchange is not None and self._exchange.disturbed:
                    raise RefusedError(POLICY_VIOLATION, "Requested entity was not found.")
                await self._hear(message)
            case AudioStreamEnd():
                user = self._hearing.stream_end()
                if user is not None:
                    await self._activity_ended(user)
            case ActivityStart() | ActivityEnd():
                await self._push_to_talk(message)
            case Picture():
                self._pictures += 1
                self._add_to_context(Tokens(image=call.profile.accounting.image))
            case Text():
                self._add_to_context(Tokens(text=text_tokens(len(message.text))))
                await self._typed(message.text, 0)
            case ClientContent():
                await self._read(message)
            case ToolResponse():
                for response in message.responses:
                    await self._give_result(response)

    # --- the user -------------------------------------------------------------------------------------------------

    async def _hear(self, audio: Audio) -> None:
        for event in self._hearing.hear(audio, detects=self._call.setup.detects_activity):
            if isinstance(event, UserDeed):
                await self._activity_ended(event)
            else:
                await self._activity_started(event)

    async def _push_to_talk(self, message: ActivityStart | ActivityEnd) -> None:
        if self._call.setup.detects_activity:
            raise RefusedError(
                POLICY_VIOLATION,
                "Explicit activity control is not supported when automatic activity detection is enabled.",
            )
        if isinstance(message, ActivityStart):
            await self._activity_started(self._hearing.press())
        elif (user := self._hearing.release()) is not None:
            await self._activity_ended(user)

    @property
    def _deaf(self) -> bool:
        return self._call.conversation.next.instead == "deaf"

    async def _activity_started(self, offset_s: float) -> None:
        if self._deaf:
            return
        if self._exchange is not None and self._playing is not None:
            await self._exchange.reach_hold(self._playing)
        for message in messages.voice_activity(self._call.profile, "ACTIVITY_START", offset_s):
            await self._call.line.send(message)
        if self._call.setup.interruptible:
            await self._interrupt("speech")

    async def _activity_ended(self, user: UserDeed) -> None:
        call, deaf = self._call, self._deaf
        index = call.conversation.next_turn
        turn = call.conversation.take_turn()
        plan = plan_of_turn(turn, call.setup.functions, user.how)
        deed = ExchangeDeed(user, index)
        if deaf:
            call.deed.add(deed)
            return
        first = call.conversation.utterances == 1
        speech_s = (user.ended_s or 0.0) - (user.began_s or 0.0)
        self._add_to_context(usage.user_speech(call.profile.accounting, speech_s, first=first))
        if call.transcribes_input and not self._taken_back and plan.transcripts != "late":
            for message in messages.input_transcript(call.profile, turn.said):
                await call.line.send(message)
            user.words = turn.said
        self._taken_back = False
        for message in messages.voice_activity(call.profile, "ACTIVITY_END", user.decided_s or 0.0):
            await call.line.send(message)
        await self._start(plan, deed, "speech")

    async def _read(self, content: ClientContent) -> None:
        pictures = content.pictures * self._call.profile.accounting.image
        self._add_to_context(Tokens(text=text_tokens(content.characters), image=pictures))
        if not content.turn_complete:
            return
        if self._seeds_history:
            self._seeds_history = False
            return
        await self._typed(content.text, content.pictures)

    async def _typed(self, text: str, pictures: int) -> None:
        conversation, functions = self._call.conversation, self._call.setup.functions
        deed = ExchangeDeed(UserDeed("typed", text, pictures, decided_ns=time_ns()))
        plan = plan_of_text(text, functions)
        if conversation.next.typed:
            deed.scenario_turn = conversation.next_turn
            plan = plan_of_turn(conversation.take_turn(spoken=False), functions, "typed")
        await self._start(plan, deed, "text")

    # --- tools ----------------------------------------------------------------------------------------------------

    async def _give_result(self, response: FunctionResponse) -> None:
        call = self._call
        call_id = response.id or next(iter(call.cancelled), "")
        if call_id in call.running:
            await self._go_on_after(call_id, response)
        elif call_id in call.cancelled:
            # It was on its way when the call was cancelled.
            note_answer(call.cancelled[call_id], response, time_ns())
        elif self._exchange is None or not self._exchange.answered(response):
            raise RefusedError(POLICY_VIOLATION, "Requested entity was not found.")

    async def _go_on_after(self, call_id: str, response: FunctionResponse) -> None:
        """A tool that blocked nothing has answered: at once, when there is a pause, or without a word about it."""
        call = self._call
        deed, plan = call.running[call_id]
        note_answer(deed, response, time_ns())
        if not response.will_continue:
            del call.running[call_id]
        self._add_to_context(usage.function_results(call.profile.accounting, len(json.dumps(response.response))))
        if response.scheduling == "SILENT":
            return
        user = UserDeed("tool_response", decided_ns=time_ns())
        next_plan = plan.after(response.response, final=not response.will_continue)
        if response.scheduling == "INTERRUPT":
            await self._start(next_plan, ExchangeDeed(user), "tool_response")
        else:
            self._waiting.append((next_plan, ExchangeDeed(user)))
            self._play_what_waits()

    def _add_to_context(self, tokens: Tokens) -> None:
        self._call.conversation.context += tokens

    # --- exchanges ------------------------------------------------------------------------------------------------

    async def _start(self, plan: Plan, deed: ExchangeDeed, by: Interruption) -> None:
        if self._call.setup.interruptible:
            await self._interrupt(by)
        deed.user.pictures += self._pictures
        self._pictures = 0
        self._play(plan, deed)

    def _play(self, plan: Plan, deed: ExchangeDeed) -> None:
        before = self._playing
        exchange = self._exchange = Exchange(self._call, plan, deed)
        self._call.deed.add(deed)

        async def play_after_the_former() -> None:
            if before is not None:
                await before
            await exchange.play()

        self._playing = asyncio.create_task(play_after_the_former())
        self._playing.add_done_callback(self._played)

    async def _interrupt(self, by: Interruption) -> None:
        exchange, playing = self._exchange, self._playing
        if exchange is None or playing is None:
            return
        await exchange.reach_hold(playing)
        if exchange.closed:
            await asyncio.gather(playing, return_exceptions=True)
            await exchange.cut_late(by)
        if exchange.closed or playing.done():
            return
        await self._stop_playing()
        if by == "speech" and exchange.plan.spoken and not exchange.begun:
            # The pause was no end: the utterance goes on, in the turn after it where the scenario has it so.
            by = "retracted"
            if exchange.plan.hold != "start":
                self._call.conversation.take_back_turn()
                self._taken_back = True
        await exchange.cut(by)
        self._exchange = None

    async def _stop_playing(self) -> None:
        playing, self._playing = self._playing, None
        if playing is not None:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)

    def _played(self, playing: "asyncio.Task[None]") -> None:
        if playing.cancelled():
            return
        if (error := playing.exception()) is not None:
            _log.error("the simulator failed in an exchange", exc_info=error)
            self._call.line.close_later(0, INTERNAL_ERROR, "Internal error encountered.")
        elif playing is self._playing:
            self._play_what_waits()

    def _play_what_waits(self) -> None:
        if self._waiting and (self._playing is None or self._playing.done()):
            self._play(*self._waiting.popleft())
