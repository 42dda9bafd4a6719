"""The input side of a call: whose turn it is, what interrupts, and which exchange comes next."""

import asyncio
import logging

from voicespan_simulator import server_messages as messages
from voicespan_simulator import usage
from voicespan_simulator.client_messages import (
    POLICY_VIOLATION,
    ActivityEnd,
    ActivityStart,
    Audio,
    AudioStreamEnd,
    ClientContent,
    ClientMessage,
    Picture,
    RefusedError,
    Text,
    ToolResponse,
)
from voicespan_simulator.exchange import Call, Exchange
from voicespan_simulator.plan import Plan, plan_of_text, plan_of_turn
from voicespan_simulator.profiles import Handle
from voicespan_simulator.tokens import Tokens, text_tokens
from voicespan_simulator.vad import SpeechDetector, SpeechEnded, SpeechStarted
from voicespan_simulator.wire_json import JsonObject

_INTERNAL_ERROR = 1011
_AFTER_SETUP_S = 0.005

_log = logging.getLogger(__name__)


class Session:
    """One connection after its setup: feed it the client's messages."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._detector = SpeechDetector(silence_s=call.setup.silence_s)
        self._audio_s = 0.0
        self._activity_since_s: float | None = None  # push to talk
        self._exchange: Exchange | None = None
        self._playing: asyncio.Task[None] | None = None
        self._cancelled_ids: set[str] = set()
        self._taken_back = False
        self._seeds_history = call.setup.seeds_history

    async def begin(self) -> None:
        """Answers the setup."""
        call = self._call
        complete: JsonObject = {}
        if call.dialect.session_id:
            complete["sessionId"] = call.new_call_id()
        await call.line.send({"setupComplete": complete}, wait_s=call.profile.timing.setup_s)
        if call.setup.resumption or call.profile.shape.unasked_handle is Handle.AT_START:
            await call.line.pace.wait(_AFTER_SETUP_S)
            await call.send_handle()

    async def end(self) -> None:
        """The connection is gone."""
        await self._stop_playing()
        await self._call.line.hang_up()

    async def take(self, message: ClientMessage) -> None:
        """One message of the client; raises `RefusedError` for what the service answers by closing."""
        self._call.consumed_messages += 1
        match message:
            case Audio():
                await self._hear(message)
            case AudioStreamEnd():
                ended = self._detector.flush()
                if ended is not None:
                    await self._activity_ended(ended.offset_s, ended.speech_s)
            case ActivityStart() | ActivityEnd():
                await self._push_to_talk(message)
            case Picture():
                self._add_to_context(Tokens(image=self._call.profile.accounting.image))
            case Text():
                self._add_to_context(Tokens(text=text_tokens(len(message.text))))
                await self._start(plan_of_text(message.text, self._call.setup.functions))
            case ClientContent():
                await self._read(message)
            case ToolResponse():
                self._give_results(message)

    async def _hear(self, audio: Audio) -> None:
        self._audio_s += len(audio.pcm) / 2 / audio.rate_hz
        if not self._call.setup.detects_activity:
            return
        for event in self._detector.feed(audio.pcm, audio.rate_hz):
            match event:
                case SpeechStarted():
                    await self._activity_started(event.offset_s)
                case SpeechEnded():
                    await self._activity_ended(event.offset_s, event.speech_s)

    async def _push_to_talk(self, message: ActivityStart | ActivityEnd) -> None:
        if self._call.setup.detects_activity:
            raise RefusedError(
                POLICY_VIOLATION,
                "Explicit activity control is not supported when automatic activity detection is enabled.",
            )
        if isinstance(message, ActivityStart):
            self._activity_since_s = self._audio_s
            await self._activity_started(self._audio_s)
        elif self._activity_since_s is not None:
            speech_s = self._audio_s - self._activity_since_s
            self._activity_since_s = None
            await self._activity_ended(self._audio_s, speech_s)

    async def _activity_started(self, offset_s: float) -> None:
        for message in messages.voice_activity(self._call.profile, "ACTIVITY_START", offset_s):
            await self._call.line.send(message)
        if self._call.setup.interruptible:
            await self._interrupt()

    async def _activity_ended(self, offset_s: float, speech_s: float) -> None:
        call = self._call
        turn = call.conversation.take_turn()
        first = call.conversation.utterances == 1
        self._add_to_context(usage.user_speech(call.profile.accounting, speech_s, first=first))
        if (call.setup.transcribe_input or call.profile.shape.transcribes_unasked) and not self._taken_back:
            for message in messages.input_transcript(call.profile, turn.said):
                await call.line.send(message)
        self._taken_back = False
        for message in messages.voice_activity(call.profile, "ACTIVITY_END", offset_s):
            await call.line.send(message)
        await self._start(plan_of_turn(turn, call.setup.functions))

    async def _read(self, content: ClientContent) -> None:
        pictures = content.pictures * self._call.profile.accounting.image
        self._add_to_context(Tokens(text=text_tokens(content.characters), image=pictures))
        if not content.turn_complete:
            return
        if self._seeds_history:
            self._seeds_history = False
            return
        await self._start(plan_of_text(content.text, self._call.setup.functions))

    def _give_results(self, message: ToolResponse) -> None:
        for response in message.responses:
            if response.id in self._cancelled_ids or (not response.id and self._cancelled_ids):
                continue  # it was on its way when the call was cancelled
            if self._exchange is None or not self._exchange.answered(response):
                raise RefusedError(POLICY_VIOLATION, "Requested entity was not found.")

    def _add_to_context(self, tokens: Tokens) -> None:
        self._call.conversation.context += tokens

    async def _start(self, plan: Plan) -> None:
        if self._call.setup.interruptible:
            await self._interrupt()
        before = self._playing
        exchange = self._exchange = Exchange(self._call, plan)

        async def play_after_the_former() -> None:
            if before is not None:
                await before
            await exchange.play()

        self._playing = asyncio.create_task(play_after_the_former())
        self._playing.add_done_callback(self._close_on_failure)

    async def _interrupt(self) -> None:
        exchange, playing = self._exchange, self._playing
        if exchange is None or playing is None or playing.done():
            return
        if exchange.closed:
            await playing
            return
        await self._stop_playing()
        if exchange.plan.spoken and not exchange.begun:
            # The pause was no end: the utterance goes on.
            self._call.conversation.take_back_turn()
            self._taken_back = True
        self._cancelled_ids.update(exchange.pending_ids)
        for message in exchange.cut():
            await self._call.line.send(message)
        self._exchange = None

    async def _stop_playing(self) -> None:
        playing, self._playing = self._playing, None
        if playing is not None:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)

    def _close_on_failure(self, playing: "asyncio.Task[None]") -> None:
        if not playing.cancelled() and (error := playing.exception()) is not None:
            _log.error("the simulator failed in an exchange", exc_info=error)
            self._call.line.close_later(0, _INTERNAL_ERROR, "Internal error encountered.")
