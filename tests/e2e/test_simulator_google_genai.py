"""The unmodified google-genai client against a simulator in a process of its own."""

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from google.genai.live import AsyncSession
from websockets.asyncio.client import connect

from voicespan_simulator.process import SimulatorProcess, SimulatorStartError
from voicespan_simulator.scenario_file import scenario_names

pytestmark = pytest.mark.e2e

MODEL = "gemini-3.8-live"
USER_AUDIO = Path(__file__).parents[2] / "app" / "voicespan_server" / "demo_audio"
LINES = ("01-navigate", "02-search", "03-market", "04-thanks")
FUNCTIONS: list[Any] = [
    {"function_declarations": [{"name": "search_nearby"}, {"name": "navigate_to_location", "description": "Routes."}]}
]
PAUSE = bytes(2 * 16_000 * 12 // 10)


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(pace="fast") as running:
        yield running


def client(simulator: SimulatorProcess, *, vertex: bool = False, scenario: str | None = None) -> genai.Client:
    context = ssl.create_default_context(cafile=simulator.ca_file)
    options = types.HttpOptions(
        base_url=simulator.base_url,
        api_version="v1beta1" if vertex else "v1beta",
        async_client_args={"ssl": context},
        client_args={"verify": context},
        headers={"x-simulator-scenario": scenario} if scenario else None,
    )
    return genai.Client(api_key="none", vertexai=vertex, http_options=options)


@dataclass
class Conversation:
    session: AsyncSession
    messages: list[types.LiveServerMessage] = field(default_factory=list)

    async def say(self, line: str) -> None:
        with wave.open(str(USER_AUDIO / f"{line}.wav")) as audio:
            pcm = audio.readframes(audio.getnframes()) + PAUSE
        for begin in range(0, len(pcm), 3200):
            blob = types.Blob(data=pcm[begin : begin + 3200], mime_type="audio/pcm;rate=16000")
            await self.session.send_realtime_input(audio=blob)

    async def hear(self, until: str) -> str:
        """Messages until one of that kind, in protocol notation; calls are answered on the way."""
        kinds: list[str] = []
        while True:
            async for message in self.session.receive():
                self.messages.append(message)
                for call in message.tool_call.function_calls or [] if message.tool_call else []:
                    response = types.FunctionResponse(id=call.id, name=call.name, response={"ok": True})
                    await self.session.send_tool_response(function_responses=response)
                kind = kind_of(message)
                if kind and (not kinds or kinds[-1] != kind):
                    kinds.append(kind)
                if kind == until:
                    return " ".join(kinds)

    @property
    def calls(self) -> list[tuple[str | None, dict[str, Any] | None]]:
        calls = [call for m in self.messages if m.tool_call for call in m.tool_call.function_calls or []]
        return [(call.name, call.args) for call in calls]

    def words(self, side: str) -> str:
        contents = [m.server_content for m in self.messages if m.server_content]
        transcripts = [getattr(content, f"{side}_transcription") for content in contents]
        return "".join(t.text for t in transcripts if t and t.text)

    @property
    def handle(self) -> str:
        updates = [m.session_resumption_update for m in self.messages if m.session_resumption_update]
        handle = updates[-1].new_handle
        assert handle
        return handle


def kind_of(message: types.LiveServerMessage) -> str:
    content = message.server_content
    if content and content.turn_complete:
        assert message.usage_metadata
        return "TC"
    if content and content.interrupted:
        return "INT"
    if content and content.generation_complete:
        return "GC"
    if content and content.model_turn:
        return "TH" if content.model_turn.parts and content.model_turn.parts[0].thought else "A"
    if content and content.input_transcription:
        return "I"
    if message.voice_activity and message.voice_activity.voice_activity_type:
        return message.voice_activity.voice_activity_type.name.removeprefix("ACTIVITY_")
    if message.tool_call:
        return "call"
    if message.tool_call_cancellation:
        return "cancel"
    return "goAway" if message.go_away else ""


@asynccontextmanager
async def call(
    simulator: SimulatorProcess, scenario: str | None = None, *, model: str = MODEL, vertex: bool = False, **config: Any
) -> AsyncIterator[Conversation]:
    live = types.LiveConnectConfig(
        response_modalities=[types.Modality.AUDIO],
        input_audio_transcription=types.AudioTranscriptionConfig(),
        output_audio_transcription=types.AudioTranscriptionConfig(),
        tools=FUNCTIONS,
        **config,
    )
    dialled = client(simulator, vertex=vertex, scenario=scenario)
    async with dialled.aio.live.connect(model=model, config=live) as session:
        assert session.setup_complete is not None
        yield Conversation(session)


async def test_the_demo_from_the_first_to_the_last_word(simulator: SimulatorProcess) -> None:
    async with call(simulator) as demo:
        traces = []
        for line in LINES[:2]:
            await demo.say(line)
            traces.append(await demo.hear("TC"))
        await demo.say(LINES[2])
        await demo.hear("GC")
        await demo.say(LINES[3])
        traces.append(await demo.hear("TC"))
        traces.append(await demo.hear("TC"))
    spoken = "START I END call A GC TC"
    assert traces == [spoken, spoken, "START INT TC", "I END A GC TC"]
    assert demo.calls == [
        ("navigate_to_location", {"destination": "Helsinki Cathedral"}),
        ("search_nearby", {"query": "cafe", "radius_m": 800}),
    ]
    assert demo.words("input") == (
        "Take me to the cathedral, please.Is there a cafe near here?"
        "What can you tell me about the old market hall?Thanks, that's enough."
    )
    assert demo.words("output").endswith("wooden stalls.You are welcome. Enjoy your walk.")


@pytest.mark.parametrize(
    ("scenario", "expected", "names"),
    [
        ("plain", "START I END A GC TC", []),
        ("one_tool", "START I END call A GC TC", ["search_nearby"]),
        ("parallel_tools", "START I END call A GC TC", ["navigate_to_location", "search_nearby"]),
    ],
)
async def test_a_scenario_is_picked_by_header(
    simulator: SimulatorProcess, scenario: str, expected: str, names: list[str]
) -> None:
    async with call(simulator, scenario) as conversation:
        await conversation.say(LINES[0])
        assert await conversation.hear("TC") == expected
        assert [name for name, _ in conversation.calls] == names


async def test_barge_in_while_played_and_while_generated(simulator: SimulatorProcess) -> None:
    async with call(simulator, "barge_in") as conversation:
        await conversation.say(LINES[2])
        assert await conversation.hear("GC") == "START I END A GC"
        await conversation.say(LINES[3])
        assert await conversation.hear("TC") == "START INT TC"
        assert await conversation.hear("A") == "I END A"
        await conversation.say(LINES[3])
        assert await conversation.hear("TC") == "A START INT TC"
        assert await conversation.hear("TC") == "I END A GC TC"
        reports = [m.usage_metadata for m in conversation.messages if m.usage_metadata]
        whole, half, _ = (report.response_token_count or 0 for report in reports)
        assert 0 < half < whole == 198


@pytest.mark.parametrize(
    ("model", "vertex", "expected"),
    [
        ("gemini-3.1-flash-live-preview", False, "START I END call A GC TC"),
        ("gemini-2.5-flash-native-audio-preview-09-2025", False, "I call A GC TC"),
        ("gemini-2.5-flash-native-audio-latest", False, "I TH call A GC TC"),
        ("gemini-live-2.5-flash", True, "I call GC TC A GC TC"),
    ],
)
async def test_other_models_and_vertex(simulator: SimulatorProcess, model: str, vertex: bool, expected: str) -> None:
    async with call(simulator, "one_tool", model=model, vertex=vertex) as conversation:
        assert bool(conversation.session.session_id) is vertex
        await conversation.say(LINES[1])
        trace = await conversation.hear("TC")
        if vertex:
            trace += " " + await conversation.hear("TC")
        assert trace == expected
        assert conversation.words("input").strip() == "Is there a cafe near here?"
        assert conversation.words("output").endswith("on your map.")
        report = conversation.messages[-1].usage_metadata
        assert report
        assert (report.response_token_count or 0) >= 121
        assert (report.prompt_token_count or 0) + (report.response_token_count or 0) == report.total_token_count


async def test_go_away_then_close_and_the_resumed_call_goes_on(simulator: SimulatorProcess) -> None:
    async with call(simulator, "go_away", session_resumption=types.SessionResumptionConfig()) as conversation:
        await conversation.say(LINES[0])
        assert await conversation.hear("goAway") == "START I END A GC TC goAway"
        goodbye = conversation.messages[-1].go_away
        assert goodbye
        assert goodbye.time_left == "5s"
        with pytest.raises(errors.APIError) as closed:
            await conversation.hear("never")
    assert (closed.value.code, closed.value.details) == (1011, "Deadline expired before operation could complete.")
    before = next(m.usage_metadata for m in conversation.messages if m.usage_metadata)
    resumption = types.SessionResumptionConfig(handle=conversation.handle)
    async with call(simulator, session_resumption=resumption) as resumed:
        await resumed.say(LINES[1])
        assert await resumed.hear("TC") == "START I END call A GC TC"
        after = resumed.messages[-1].usage_metadata
    assert after
    assert (after.prompt_token_count or 0) > (before.total_token_count or 0)


async def test_a_greeting_comes_first_and_once(simulator: SimulatorProcess) -> None:
    async with call(simulator, "greeting", session_resumption=types.SessionResumptionConfig()) as conversation:
        assert await conversation.hear("TC") == "A GC TC"
        await conversation.say(LINES[0])
        await conversation.hear("TC")
        handle = types.SessionResumptionConfig(handle=conversation.handle)
    async with call(simulator, "greeting", session_resumption=handle) as resumed:
        await resumed.say(LINES[0])
        assert await resumed.hear("TC") == "START I END A GC TC"


async def test_a_handle_may_be_refused_or_resume_nothing_but_the_connection(simulator: SimulatorProcess) -> None:
    for scenario in ("refused_handle", "dead_connection"):
        async with call(simulator, scenario, session_resumption=types.SessionResumptionConfig()) as conversation:
            await conversation.say(LINES[0])
            with pytest.raises(errors.APIError):
                await conversation.hear("never")
        handle = types.SessionResumptionConfig(handle=conversation.handle)
        if scenario == "refused_handle":
            with pytest.raises(errors.APIError) as refused:
                async with call(simulator, scenario, session_resumption=handle):
                    pass
            assert refused.value.code == 1007
            continue
        async with call(simulator, scenario, session_resumption=handle) as dead:
            await dead.say(LINES[0])
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(dead.hear("never"), 0.3)
            assert dead.messages == []
        async with call(simulator, scenario, session_resumption=handle) as third:
            await third.say(LINES[0])
            assert await third.hear("TC") == "START I END A GC TC"


async def test_deeds_say_what_was_done_and_nothing_of_keys_or_handles(tmp_path: Path) -> None:
    file = tmp_path / "deeds.jsonl"
    with SimulatorProcess("one_tool", pace="fast", deeds=file) as simulator:
        async with call(simulator, session_resumption=types.SessionResumptionConfig()) as conversation:
            await conversation.say(LINES[1])
            await conversation.hear("TC")
            handle = conversation.handle
        with pytest.raises(errors.APIError):
            async with call(simulator, model="gemini-9"):
                pass
    text = file.read_text()
    first, second = (json.loads(line) for line in text.splitlines())
    assert (first["dialect"], first["model"], first["scenario"]) == ("developer", MODEL, "one_tool")
    assert (first["closed"]["by"], first["closed"]["code"]) == ("client", 1000)
    (exchange,) = first["exchanges"]
    (turn,) = exchange["turns"]
    assert exchange["user"]["words"] == "Is there a cafe near here?"
    assert turn["words"] == conversation.words("output")
    assert [(made["name"], made["args"]) for made in turn["calls"]] == conversation.calls
    assert turn["calls"][0]["answers"][0]["response"] == {"ok": True}
    assert turn["first_content_ns"] < turn["first_audio_ns"] < turn["completes"][0]["at_ns"]
    assert (second["set_up_ns"], second["closed"]["code"]) == (None, 1008)
    assert handle not in text
    assert '"none"' not in text.replace('"handle":"none"', "")  # the client's key


async def test_a_lost_connection_is_1006_and_can_be_resumed(simulator: SimulatorProcess) -> None:
    async with call(simulator, "abrupt_loss") as conversation:
        await conversation.say(LINES[0])
        with pytest.raises(errors.APIError) as lost:
            await conversation.hear("never")
    assert lost.value.code == 1006
    audio = [m for m in conversation.messages if kind_of(m) == "A"]
    assert len(audio) <= 3
    resumption = types.SessionResumptionConfig(handle=conversation.handle)
    async with call(simulator, session_resumption=resumption) as resumed:
        await resumed.say(LINES[0])
        assert await resumed.hear("TC") == "START I END A GC TC"


async def test_a_close_of_the_server_in_mid_answer(simulator: SimulatorProcess) -> None:
    async with call(simulator, "server_close") as conversation:
        await conversation.say(LINES[0])
        with pytest.raises(errors.APIError) as closed:
            await conversation.hear("never")
    assert (closed.value.code, closed.value.details) == (1011, "Internal error encountered.")
    assert len([m for m in conversation.messages if kind_of(m) == "A"]) == 3


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        ({"model": "gemini-9"}, 1008, "models/gemini-9 is not found"),
        ({"scenario": "opera"}, 1008, "no scenario 'opera'"),
        ({"session_resumption": types.SessionResumptionConfig(handle="forged")}, 1007, "Invalid session resumption"),
    ],
)
async def test_a_setup_that_is_refused(
    simulator: SimulatorProcess, options: dict[str, Any], code: int, reason: str
) -> None:
    with pytest.raises(errors.APIError) as refused:
        async with call(simulator, **options):
            pass
    assert refused.value.code == code
    assert reason in str(refused.value.details)


async def test_what_is_no_json_closes_with_1007(simulator: SimulatorProcess) -> None:
    url = simulator.base_url.replace("https", "wss") + "/ws/google.ai.generativelanguage.v1.GenerativeService.Bidi"
    async with connect(url, ssl=ssl.create_default_context(cafile=simulator.ca_file)) as socket:
        await socket.send("{")
        await socket.wait_closed()
    assert socket.close_code == 1007
    assert "Invalid JSON payload" in str(socket.close_reason)


async def test_an_answer_to_an_unknown_call_closes_with_1008(simulator: SimulatorProcess) -> None:
    async with call(simulator) as conversation:
        response = types.FunctionResponse(id="nobody", name="f", response={})
        await conversation.session.send_tool_response(function_responses=response)
        with pytest.raises(errors.APIError) as closed:
            await conversation.hear("never")
    assert closed.value.code == 1008


async def test_typed_words_are_answered_by_rule(simulator: SimulatorProcess) -> None:
    async with call(simulator) as conversation:
        turn = types.Content(role="user", parts=[types.Part(text="Take me to the harbour by bike.")])
        await conversation.session.send_client_content(turns=turn, turn_complete=True)
        assert await conversation.hear("TC") == "call A GC TC"
        await conversation.session.send_realtime_input(text="Who are you?")
        assert await conversation.hear("TC") == "A GC TC"
    assert conversation.calls == [("navigate_to_location", {"destination": "harbour", "mode": "bike"})]
    assert "I am a simulator" in conversation.words("output")


@pytest.mark.parametrize("vertex", [False, True])
async def test_generate_content(simulator: SimulatorProcess, vertex: bool) -> None:
    chat = client(simulator, vertex=vertex)
    config = types.GenerateContentConfig(tools=FUNCTIONS, system_instruction="Be brief.")
    question = types.Content(role="user", parts=[types.Part(text="Is there a pharmacy near here?")])
    async with chat.aio as models:
        asked = await models.models.generate_content(model="gemini-2.5-flash", contents=[question], config=config)
        (wanted,) = asked.function_calls or []
        assert (wanted.name, wanted.args) == ("search_nearby", {"query": "pharmacy", "radius_m": 800})
        result = types.Part.from_function_response(name="search_nearby", response={"places": [{"name": "Apteekki"}]})
        assert asked.candidates
        contents: list[Any] = [question, asked.candidates[0].content, types.Content(role="user", parts=[result])]
        told = await models.models.generate_content(model="gemini-2.5-flash", contents=contents, config=config)
        stream = await models.models.generate_content_stream(model="gemini-2.5-flash", contents=contents, config=config)
        assert [chunk.text async for chunk in stream] == [told.text]
    assert told.text == "I found Apteekki."
    first, second = asked.usage_metadata, told.usage_metadata
    assert first
    assert second
    assert (second.prompt_token_count or 0) > (first.prompt_token_count or 0) > 30
    assert told.model_version == "gemini-2.5-flash"


def test_the_process_tells_where_it_is_and_ends_on_sigterm(tmp_path: Path) -> None:
    ready_file = tmp_path / "ready.json"
    command = [sys.executable, "-m", "voicespan_simulator", "--json", "--ready-file", str(ready_file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stdout
        ready = json.loads(process.stdout.readline())
        assert ready["base_url"].startswith("https://127.0.0.1:")
        assert ready["pid"] == process.pid
        assert "BEGIN CERTIFICATE" in Path(ready["ca_file"]).read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert json.loads(ready_file.read_text()) == ready


def test_the_process_ends_with_a_parent_that_was_killed() -> None:
    script = (
        "import sys; from voicespan_simulator.process import SimulatorProcess\n"
        "p = SimulatorProcess(); p.start(); print(p.base_url, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        port = int(parent.stdout.readline().rpartition(b":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            parent.kill()
            try:
                rest = connection.recv(1)
            except ConnectionResetError:
                rest = b""
            assert rest == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=20)


def test_a_port_that_is_none_is_refused() -> None:
    with pytest.raises(SimulatorStartError, match=r"ended with 2: [\s\S]*99999 is no port"):
        SimulatorProcess("demo", port=99999).start()


def test_a_public_address_is_refused() -> None:
    with pytest.raises(SimulatorStartError, match=r"ended with 2: [\s\S]*0\.0\.0\.0 is not a loopback address"):
        SimulatorProcess(host="0.0.0.0").start()


def test_the_scenarios_are_listed() -> None:
    command = [sys.executable, "-m", "voicespan_simulator", "--list-scenarios"]
    listed = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    assert [line.split()[0] for line in listed.splitlines()] == scenario_names()


def test_a_list_that_nobody_reads_to_its_end_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "voicespan_simulator", "--list-scenarios"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, "")
