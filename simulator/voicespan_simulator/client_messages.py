"""What a client may send, parsed into types. Whatever the service would refuse raises `RefusedError`."""

import base64
import binascii
import json
import re
from dataclasses import dataclass

from voicespan_simulator.vad import DEFAULT_SILENCE_S
from voicespan_simulator.wire_json import (
    JsonObject,
    JsonValue,
    has,
    pick,
    pick_list,
    pick_object,
    pick_text,
)

INTERNAL_ERROR = 1011
INVALID_PAYLOAD = 1007
POLICY_VIOLATION = 1008
_DEFAULT_RATE_HZ = 16_000
_RATES_HZ = range(8_000, 96_001)


class RefusedError(Exception):
    """The connection is to be closed with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Setup:
    """The first message of a connection."""

    model: str
    instruction_characters: int  # of the system instruction and the tools' declarations
    functions: frozenset[str]
    transcribe_input: bool
    transcribe_output: bool
    resumption: bool
    handle: str | None
    transparent: bool
    detects_activity: bool
    silence_s: float
    interruptible: bool
    seeds_history: bool  # the first complete client content is history and gets no answer


@dataclass(frozen=True, slots=True)
class Audio:
    """PCM16 little-endian mono."""

    pcm: bytes
    rate_hz: int


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame of video; its content is of no interest."""


@dataclass(frozen=True, slots=True)
class Text:
    """`realtimeInput.text`."""

    text: str


@dataclass(frozen=True, slots=True)
class ActivityStart:
    """Push to talk: pressed."""


@dataclass(frozen=True, slots=True)
class ActivityEnd:
    """Push to talk: released."""


@dataclass(frozen=True, slots=True)
class AudioStreamEnd:
    """The microphone is off for a while."""


@dataclass(frozen=True, slots=True)
class ClientContent:
    """Typed content: `text` is the last user turn's, `characters` counts all turns."""

    text: str
    characters: int
    pictures: int
    turn_complete: bool


@dataclass(frozen=True, slots=True)
class FunctionResponse:
    """What a tool answered; for one that does not block, when to say so and whether more will come."""

    id: str
    name: str
    response: JsonValue
    scheduling: str = "WHEN_IDLE"
    will_continue: bool = False


@dataclass(frozen=True, slots=True)
class ToolResponse:
    """One or more answers of tools."""

    responses: tuple[FunctionResponse, ...]


ClientMessage = Audio | Picture | Text | ActivityStart | ActivityEnd | AudioStreamEnd | ClientContent | ToolResponse


def decode(frame: str | bytes) -> JsonObject:
    """The JSON object in a text or binary frame."""
    try:
        value: JsonValue = json.loads(frame)
    except ValueError as error:
        raise RefusedError(INVALID_PAYLOAD, f"Invalid JSON payload received. {error}") from error
    if not isinstance(value, dict):
        raise RefusedError(INVALID_PAYLOAD, "Invalid JSON payload received. Expected an object.")
    return value


def parse_setup(message: JsonObject) -> Setup:
    """The setup that has to be a connection's first message."""
    if not has(message, "setup"):
        raise RefusedError(INVALID_PAYLOAD, "setup must be the first message of a connection")
    setup = pick_object(message, "setup")
    if not pick_text(setup, "model"):
        raise RefusedError(INVALID_PAYLOAD, "setup.model is required")
    modalities = [str(m).upper() for m in pick_list(setup, "generationConfig", "responseModalities")]
    if modalities not in ([], ["AUDIO"]):
        raise RefusedError(
            INVALID_PAYLOAD,
            f"The requested combination of response modalities ({', '.join(modalities)}) is not supported.",
        )
    detection = pick_object(setup, "realtimeInputConfig", "automaticActivityDetection")
    silence_ms = pick(detection, "silenceDurationMs")
    handling = pick_text(setup, "realtimeInputConfig", "activityHandling")
    return Setup(
        model=pick_text(setup, "model"),
        instruction_characters=instruction_characters(setup),
        functions=declared_functions(setup),
        transcribe_input=has(setup, "inputAudioTranscription"),
        transcribe_output=has(setup, "outputAudioTranscription"),
        resumption=has(setup, "sessionResumption"),
        handle=pick_text(setup, "sessionResumption", "handle") or None,
        transparent=pick(setup, "sessionResumption", "transparent") is True,
        detects_activity=pick(detection, "disabled") is not True,
        silence_s=silence_ms / 1000 if isinstance(silence_ms, int) else DEFAULT_SILENCE_S,
        interruptible=handling != "NO_INTERRUPTION",
        seeds_history=pick(setup, "historyConfig", "initialHistoryInClientContent") is True,
    )


def declared_functions(request: JsonObject) -> frozenset[str]:
    """Names of the functions that a setup or a REST request declares."""
    return frozenset(
        pick_text(declaration, "name")
        for tool in pick_list(request, "tools")
        for declaration in pick_list(tool, "functionDeclarations")
    )


def instruction_characters(request: JsonObject) -> int:
    """Characters of the system instruction's text and of the tools as JSON."""
    parts = pick_list(request, "systemInstruction", "parts")
    tools = pick_list(request, "tools")
    return sum(len(pick_text(part, "text")) for part in parts) + (len(json.dumps(tools)) if tools else 0)


def parse(message: JsonObject) -> list[ClientMessage]:
    """Everything in one message after the setup; fields unknown here are refused as the service refuses them."""
    parsed: list[ClientMessage] = []
    for key in message:
        match key:
            case "realtimeInput" | "realtime_input":
                parsed += _realtime_input(pick_object(message, "realtimeInput"))
            case "clientContent" | "client_content":
                parsed.append(_client_content(pick_object(message, "clientContent")))
            case "toolResponse" | "tool_response":
                parsed.append(_tool_response(pick_object(message, "toolResponse")))
            case "contextUpdate" | "context_update":
                pass  # it changes what a model is told, and there is none
            case "setup":
                raise RefusedError(INVALID_PAYLOAD, "setup must be the first message and only the first")
            case _:
                raise RefusedError(INVALID_PAYLOAD, f'Invalid JSON payload received. Unknown name "{key}".')
    return parsed


def _realtime_input(value: JsonObject) -> list[ClientMessage]:
    if has(value, "mediaChunks"):
        raise RefusedError(
            INVALID_PAYLOAD, "realtime_input.media_chunks is deprecated. Use audio, video, or text instead."
        )
    parsed: list[ClientMessage] = []
    if has(value, "activityStart"):
        parsed.append(ActivityStart())
    if has(value, "audio"):
        parsed.append(_audio(pick_object(value, "audio")))
    if has(value, "video"):
        parsed.append(Picture())
    if has(value, "text"):
        parsed.append(Text(pick_text(value, "text")))
    if has(value, "activityEnd"):
        parsed.append(ActivityEnd())
    if pick(value, "audioStreamEnd") is True:
        parsed.append(AudioStreamEnd())
    return parsed


def _audio(value: JsonObject) -> Audio:
    mime_type = pick_text(value, "mimeType")
    rate = re.search(r"rate=(\d{1,6})", mime_type)
    rate_hz = int(rate[1]) if rate else _DEFAULT_RATE_HZ
    if not mime_type.startswith("audio/pcm") or rate_hz not in _RATES_HZ:
        raise RefusedError(INVALID_PAYLOAD, f"Unsupported audio format {mime_type!r}: audio/pcm;rate=16000 is expected")
    try:
        # google-genai writes the urlsafe alphabet, others the standard one.
        pcm = base64.b64decode(pick_text(value, "data").translate(_STANDARD_ALPHABET), validate=True)
    except binascii.Error as error:
        raise RefusedError(INVALID_PAYLOAD, f"realtime_input.audio.data is not base64: {error}") from error
    return Audio(pcm, rate_hz)


_STANDARD_ALPHABET = str.maketrans("-_", "+/")


def _client_content(value: JsonObject) -> ClientContent:
    texts: list[tuple[str, str]] = []
    pictures = 0
    for turn in pick_list(value, "turns"):
        for part in pick_list(turn, "parts"):
            texts.append((pick_text(turn, "role") or "user", pick_text(part, "text")))
            pictures += pick_text(part, "inlineData", "mimeType").startswith("image/")
    last = next((text for role, text in reversed(texts) if role == "user" and text), "")
    return ClientContent(
        text=last,
        characters=sum(len(text) for _, text in texts),
        pictures=pictures,
        turn_complete=pick(value, "turnComplete") is True,
    )


def _tool_response(value: JsonObject) -> ToolResponse:
    return ToolResponse(
        tuple(
            FunctionResponse(
                pick_text(item, "id"),
                pick_text(item, "name"),
                pick(item, "response"),
                pick_text(item, "scheduling") or "WHEN_IDLE",
                pick(item, "willContinue") is True,
            )
            for item in pick_list(value, "functionResponses")
        )
    )
