"""A program that holds a call: google-genai on one side, the library beside it, and a user that acts from a script.

It is no voice server: it does what a script says and nothing else, so that what was told can be compared with what was
done. As in the voice server the session is fed before something is sent, and after something came.
"""

from __future__ import annotations

import array
import asyncio
import math
from contextlib import AsyncExitStack, suppress
from typing import Any, Protocol

from google import genai
from google.genai import errors, types
from google.genai.live import AsyncSession
from opentelemetry import context as otel_context
from websockets.exceptions import ConnectionClosed, WebSocketException

from support.telling import Recorder
from truth.acts import Case
from voicespan import Capture, GeminiTranslator, Identity, Model, VoiceSession
from voicespan import events as ev
from voicespan.events import Close
from voicespan.identity import in_context
from voicespan_simulator.lateness import Lateness
from voicespan_simulator.profiles import profile_of

RATE_HZ = 16_000
FRAME = RATE_HZ // 10
INSTRUCTIONS = "Be brief."
# When the library calls it a stall, and how much longer the user waits before they speak again.
STALL_AFTER_S = 1.0
STALL_S = 1.6
QUIET_S = 0.1
GRACE_S = 0.6
# What no wait of a script needs: past it the script and the scenario do not fit each other.
LONGEST_WAIT_S = 20.0
# Between the sound and the silence after it, so that the end of speech and the decision about it differ.
PAUSE_S = 0.25
PICTURE = b"\xff\xd8\xff\xe0 a picture \xff\xd9"
FUNCTIONS = ("search_nearby", "navigate_to_location")
FAILURES = (errors.APIError, WebSocketException, OSError)
_SCHEDULING: dict[str, ev.Scheduling] = {"INTERRUPT": "interrupt", "WHEN_IDLE": "when_idle", "SILENT": "silent"}
TIMED_OUT = "it did not answer in time"
_ANSWERS = {"OK": None, "ERR": "it is broken", "TIMEOUT": TIMED_OUT}
SCHEDULING = {"!": "INTERRUPT", "~": "WHEN_IDLE", "-": "SILENT"}


def _pcm(seconds: float, peak: int = 0) -> bytes:
    samples = (round(peak * math.sin(2 * math.pi * 220 * n / RATE_HZ)) for n in range(round(seconds * RATE_HZ)))
    return array.array("h", samples).tobytes()


# Sound that ends within a frame, and not with one: where in a frame it ended is a matter of 20 ms to either side.
# The detector decides after 1.05 s of silence: with the last frame, so that nothing is sent once it has answered.
LEAD_IN, SOUND, SILENCE = _pcm(0.2), _pcm(0.44, 12_000) + _pcm(0.06), _pcm(1.0)


def stall_after_s(case: Case) -> float:
    """Where no stall is to be told, longer than anything lasts here."""
    return STALL_AFTER_S if "STALL" in case.acts else 10.0


class ScriptError(Exception):
    """A script waits for what does not come; the message names both."""


class Teller(Protocol):
    """Who is told what the program does: a session of the library."""

    def feed(self, event: ev.Event) -> None: ...
    def audio_sent(self, pcm: bytes) -> None: ...
    def close(self, close: Close, error_type: str | None = None) -> None: ...


class Nobody:
    """A program that knows nothing of the library: it is instrumented, or it is not."""

    def feed(self, event: ev.Event) -> None:
        pass

    def audio_sent(self, pcm: bytes) -> None:
        pass

    def close(self, close: Close, error_type: str | None = None) -> None:
        pass


class Driver:
    """One call, from `play` to its end; then `recorder` holds what was told of it.

    With `tells` False it uses google-genai alone; then its calls carry the label as their session's id.
    """

    def __init__(  # noqa: PLR0917 - what a call is made of
        self,
        case: Case,
        client: genai.Client,
        model: str,
        label: str,
        lateness: Lateness,
        capture: Capture = Capture(on_spans=True),  # noqa: B008 - frozen
        *,
        tells: bool = True,
    ) -> None:
        self._case = case
        self._lateness = lateness
        self.late_s = 0.0  # this program itself, at worst
        self._client = client
        self._model = model
        self._label = label
        self.recorder = Recorder(Identity(label, backend="simulator"))
        self._tells = tells
        self._session = self._own_session(capture) if tells else Nobody()
        self._translator = GeminiTranslator(FUNCTIONS if case.non_blocking else ())
        self._live: AsyncSession | None = None
        self._connected = asyncio.Event()
        self._handle: str | None = None
        self._scenario = case.scenario
        self._going_away = False
        self._leaving = False
        self._ended = asyncio.Event()
        self._calls: list[ev.ToolCall] = []
        self._responded = 0
        profile = profile_of(model)
        self._halves = profile is not None and profile.shape.closes_tool_call
        self._answered = False  # a call that blocks, and the model has not gone on
        self._marks: list[str] = []
        self._waited = 0  # marks up to here were waited for
        self._arrived = asyncio.Condition()

    def _own_session(self, capture: Capture) -> Teller:
        return VoiceSession(
            self.recorder.identity,
            Model(self._model, "gcp.vertex_ai" if self._client.vertexai else "gcp.gemini"),
            tracer=self.recorder.tracer,
            capture=capture,
            instructions=INSTRUCTIONS,
            metrics=self.recorder.metrics,
            logger=self.recorder.logger,
            stall_after_s=stall_after_s(self._case),
        )

    async def play(self) -> None:
        """The whole call. Raises ScriptError where the script does not fit what comes."""
        began = self._lateness.now()
        talking = asyncio.create_task(self._talk())
        acting = asyncio.create_task(self._act())
        await asyncio.wait({talking, acting}, return_when=asyncio.FIRST_COMPLETED)
        if talking.done() and not acting.done():
            # The service ended the call; the script may still have been waiting for that.
            await asyncio.wait({acting}, timeout=1.0)
        acting.cancel()
        if not self._ended.is_set():
            self._end(Close(1000, "bye", "client"))
        talking.cancel()
        results = await asyncio.gather(talking, acting, return_exceptions=True)
        self.late_s = self._lateness.worst_since(began)
        for result in results:
            if isinstance(result, Exception):
                raise result

    def _end(self, close: Close, error_type: str | None = None) -> None:
        self._session.close(close, error_type)
        self._ended.set()

    # --- the service ----------------------------------------------------------------------------------------------

    async def _talk(self) -> None:
        """Connections one after the other, until one ends for good."""
        if not self._tells:
            otel_context.attach(in_context(self.recorder.identity))  # this task's own, as long as it lasts
        while not self._ended.is_set():
            try:
                async with AsyncExitStack() as stack:
                    self._session.feed(ev.Dialing(self._handle is not None))
                    self._live = await stack.enter_async_context(
                        self._client.aio.live.connect(model=self._model, config=self._config())
                    )
                    complete = self._live.setup_complete
                    self._session.feed(ev.Connected(complete.session_id if complete else None))
                    self._going_away = self._leaving = False
                    self._connected.set()
                    await self._mark("UP")
                    await self._receive(self._live)
            except FAILURES as error:
                close = _close_of(error)
                if self._leaving:
                    continue  # told when it was left
                self._session.feed(ev.Disconnected(close))
                await self._cut(close)
            finally:
                self._connected.clear()
                self._live = None

    async def _cut(self, close: Close) -> None:
        refused_handle = self._handle is not None and "handle" in close.reason
        if refused_handle:
            # Nothing is left to go on from: a new conversation.
            self._handle, self._scenario = None, "plain"
        elif self._handle is None or (close.code in {1007, 1008} and not self._going_away):
            self._end(close, f"live_{close.code}")
        await self._mark("CUT")

    async def _receive(self, live: AsyncSession) -> None:
        while True:
            try:
                async for message in live.receive():
                    await self._on_message(message)
            except (TypeError, ValueError) as error:
                # What the SDK raises on a message of a kind that it does not know.
                self._session.feed(ev.Unreadable(type(error).__name__))

    async def _on_message(self, message: types.LiveServerMessage) -> None:
        update = message.session_resumption_update
        if self._case.resumes and update and update.new_handle and update.resumable:
            self._handle = update.new_handle
        for event in self._translator.events(message):
            self._session.feed(event)
            if isinstance(event, ev.ToolCall):
                self._calls.append(event)
            if isinstance(event, ev.GoAway):
                self._going_away = True
            if isinstance(event, ev.ModelAudio | ev.Interrupted):
                self._answered = False
            mark = _mark_of(event)
            if mark == "TC" and self._answered and self._halves:
                mark, self._answered = "HALF", False
            if mark:
                await self._mark(mark)
        # Behind all calls of a message: whatever answers them takes longer than to read it.
        if not self._case.by_hand:
            while self._responded < len(self._calls):
                self._responded += 1
                await self._respond(self._responded, {"found": self._responded})

    async def _mark(self, mark: str) -> None:
        async with self._arrived:
            self._marks.append(mark)
            self._arrived.notify_all()

    def _config(self) -> types.LiveConnectConfig:
        detection = types.AutomaticActivityDetection(disabled=True) if self._case.push_to_talk else None
        return types.LiveConnectConfig(
            response_modalities=[types.Modality.AUDIO],
            system_instruction=INSTRUCTIONS,
            input_audio_transcription=types.AudioTranscriptionConfig(),
            output_audio_transcription=types.AudioTranscriptionConfig(),
            realtime_input_config=types.RealtimeInputConfig(automatic_activity_detection=detection),
            session_resumption=types.SessionResumptionConfig(handle=self._handle) if self._case.resumes else None,
            tools=[types.Tool(function_declarations=[self._declaration(name) for name in FUNCTIONS])],
            http_options=types.HttpOptions(
                headers={"x-simulator-scenario": self._scenario, "x-simulator-label": self._label}
            ),
        )

    def _declaration(self, name: str) -> types.FunctionDeclaration:
        behavior = types.Behavior.NON_BLOCKING if self._case.non_blocking else None
        return types.FunctionDeclaration(name=name, behavior=behavior)

    # --- the script -----------------------------------------------------------------------------------------------

    async def _act(self) -> None:
        await self._wait_for("UP")
        for act in self._case.acts.split():
            name, _, argument = act.partition(":")
            words = argument.replace("_", " ")
            match name:
                case "SAY" | "PTT" | "OFF":
                    await self._speak(name)
                case "TYPE" | "SHOW" | "LIVE":
                    await self._type(name, words)
                case "PIC":
                    await self._connection.send_realtime_input(video=types.Blob(data=PICTURE, mime_type="image/jpeg"))
                case "SEED":
                    await self._connection.send_client_content(turns=_HISTORY, turn_complete=False)
                case "STALL":
                    await asyncio.sleep(STALL_S)
                case "GRACE":
                    await asyncio.sleep(GRACE_S)
                case "QUIET":
                    await self._wait_for_quiet()
                case "REDIAL":
                    await self._leave()
                case _ if name.startswith(tuple(_ANSWERS)):
                    await self._answer(name)
                case _:
                    await self._wait_for(name)
        # What the service sends behind the last thing that was waited for, a handle mostly, is not to be cut off.
        await asyncio.sleep(0.02)

    @property
    def _connection(self) -> AsyncSession:
        assert self._live is not None, f"{self._label}: no connection"
        return self._live

    async def _wait_for(self, mark: str) -> None:
        def found() -> bool:
            return mark in self._marks[self._waited :]

        async with self._arrived:
            try:
                await asyncio.wait_for(self._arrived.wait_for(found), LONGEST_WAIT_S)
            except TimeoutError:
                came = " ".join(self._marks[self._waited :])
                raise ScriptError(
                    f"{self._label}: {mark} was waited for, and there came: {came or 'nothing'}"
                ) from None
            self._waited = self._marks.index(mark, self._waited) + 1

    async def _wait_for_quiet(self) -> None:
        seen = -1
        while seen != len(self._marks):
            seen = len(self._marks)
            await asyncio.sleep(QUIET_S)

    async def _speak(self, how: str) -> None:
        live = self._connection
        if how == "PTT":
            self._session.feed(ev.ActivityStart("client"))
            await live.send_realtime_input(activity_start=types.ActivityStart())
        await self._send(LEAD_IN + SOUND)
        await asyncio.sleep(PAUSE_S)
        if how == "SAY":
            await self._send(SILENCE)
        elif how == "PTT":
            self._session.feed(ev.ActivityEnd("client"))
            await live.send_realtime_input(activity_end=types.ActivityEnd())
        else:
            self._session.feed(ev.AudioStreamEnd())
            await live.send_realtime_input(audio_stream_end=True)

    async def _send(self, pcm: bytes) -> None:
        for begin in range(0, len(pcm), FRAME * 2):
            frame = pcm[begin : begin + FRAME * 2]
            self._session.audio_sent(frame)
            blob = types.Blob(data=frame, mime_type=f"audio/pcm;rate={RATE_HZ}")
            await self._connection.send_realtime_input(audio=blob)

    async def _type(self, how: str, words: str) -> None:
        self._session.feed(ev.UserText(words))
        if how == "LIVE":
            await self._connection.send_realtime_input(text=words)
            return
        parts = [types.Part(text=words)]
        if how == "SHOW":
            parts.insert(0, types.Part.from_bytes(data=PICTURE, mime_type="image/jpeg"))
        await self._connection.send_client_content(turns=types.Content(role="user", parts=parts), turn_complete=True)

    async def _answer(self, act: str) -> None:
        digits = "".join(filter(str.isdigit, act))
        number = int(digits)
        how = act.partition(digits)[2]
        error = _ANSWERS[act.partition(digits)[0]]
        response: dict[str, Any] = {"error": error} if error else {"found": number}
        scheduling = next((SCHEDULING[mark] for mark in how if mark in SCHEDULING), None)
        await self._respond(number, response, scheduling, will_continue="+" in how)

    async def _respond(
        self, number: int, response: dict[str, Any], scheduling: str | None = None, *, will_continue: bool = False
    ) -> None:
        call = self._calls[number - 1]
        error = response.get("error")
        outcome = ev.ToolOutcome.OK
        if error:
            outcome = ev.ToolOutcome.TIMEOUT if error == TIMED_OUT else ev.ToolOutcome.ERROR
        how = _SCHEDULING[scheduling] if scheduling else None
        self._session.feed(ev.ToolResponse(call.call_id, outcome, response, error, how, final=not will_continue))
        answer = types.FunctionResponse(
            id=None if call.unnamed else call.call_id,
            name=call.name,
            response=response,
            scheduling=types.FunctionResponseScheduling(scheduling) if scheduling else None,
            will_continue=will_continue or None,
        )
        self._answered = scheduling is None
        with suppress(ConnectionClosed):  # the receiving side tells of it
            await self._connection.send_tool_response(function_responses=answer)

    async def _leave(self) -> None:
        """Closes the connection, to dial again."""
        live = self._connection
        self._leaving = True
        self._session.feed(ev.Disconnected(Close(1000, "left", "server")))
        await live.close()


_HISTORY = [
    types.Content(role="user", parts=[types.Part(text="My name is Marcelo.")]),
    types.Content(role="model", parts=[types.Part(text="Hello Marcelo.")]),
]


def _mark_of(event: ev.Event) -> str | None:
    match event:
        case ev.TurnComplete():
            return "TC+" if event.in_progress else "TC"
        case ev.UsageReport(completes_turn=False):
            return "U"
        case _:
            return _MARKS.get(type(event))


_MARKS: dict[type, str] = {
    ev.InputTranscript: "I",
    ev.ModelAudio: "A",
    ev.OutputTranscript: "T",
    ev.GenerationComplete: "GC",
    ev.Interrupted: "INT",
    ev.ToolCall: "CALL",
    ev.ToolCancelled: "CANCEL",
    ev.GoAway: "GA",
    ev.WaitingForInput: "WAIT",
}


def _close_of(error: BaseException) -> Close:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ConnectionClosed):
            return Close(seen.rcvd.code, seen.rcvd.reason) if seen.rcvd else Close(1006, "connection lost")
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, errors.APIError):
        return Close(error.code or 1006, str(error.details or ""))
    return Close(1006, f"{type(error).__name__}: {error}")
