"""The spans: a template where the name has a part in braces."""

from __future__ import annotations

from voicespan.conventions import attributes as a
from voicespan.conventions import groups as g
from voicespan.conventions.tables import ATTRIBUTES, SPANS, Kind, SpanName


def _span(name: str, kind: Kind, brief: str, attributes: tuple[str, ...]) -> str:
    SPANS[name] = SpanName(name, kind, brief, attributes)
    return name


VOICE_SESSION = _span(
    "Voice Session",
    "SERVER",
    "the upgrade request, until accept or refusal",
    (*g.COMMON, a.HTTP_METHOD, a.HTTP_ROUTE, a.HTTP_STATUS, a.URL_SCHEME, a.URL_PATH, a.NETWORK_PROTOCOL),
)
WEBSOCKET_SESSION = _span(
    "WebSocket Session",
    "INTERNAL",
    "the call, from accept to close",
    (*g.COMMON, a.ENTRY, a.MODEL, *g.SESSION_TOTALS, *g.CLOSE, a.LF_INPUT, a.LF_OUTPUT),
)
LIVE_CONNECTION = _span(
    "Live Connection {index}",
    "CLIENT",
    "dial and setup of one connection to the model; from the second on it starts where the former one stopped serving",
    (
        *g.COMMON,
        *g.ENDPOINT,
        a.CONNECTION_INDEX,
        a.CONNECTION_SETUP,
        a.CONNECTION_GAP,
        a.CONNECTION_RESUMED,
        a.CONNECTION_HANDLE_AGE,
        a.CONNECTION_GO_AWAY,
        *g.CONNECTION_CLOSE,
    ),
)
TURN = _span(
    "Turn {index}",
    "CLIENT",
    "from the end of the user's words to the end of the answer; INTERNAL where generations have spans of their own",
    (
        *g.GENERATION,
        a.ENTRY,
        *(
            name
            for name in ATTRIBUTES
            if name.startswith(("voicespan.turn.", "voicespan.latency.", "voicespan.audio.", "voicespan.time_to_"))
            and name not in {*g.GENERATION, a.LATENCY_PART, a.AUDIO_DIRECTION}  # the last two are metrics' alone
        ),
        a.TIME_TO_SILENCE,
        a.RECORDED_INPUT,
        a.RECORDED_OUTPUT,
        a.RECORDING_CUT,
        a.LF_COMPLETION_START,
    ),
)
REALTIME_INFERENCE = _span(
    "realtime_inference {model}",
    "CLIENT",
    "one generation of a turn; only with the setting generation_spans. The name is one proposed for OpenTelemetry",
    g.GENERATION,
)
TOOL = _span(
    "tool-{name}",
    "INTERNAL",
    "from the model's call to the response that was sent back",
    (
        *g.COMMON,
        a.OPERATION_NAME,
        a.TOOL_NAME,
        a.TOOL_TYPE,
        a.TOOL_CALL_ID,
        a.TOOL_OUTCOME,
        a.TOOL_BLOCKING,
        a.TOOL_RESPONSES,
        a.TOOL_ARGUMENTS,
        a.TOOL_RESULT,
        a.LF_INPUT,
        a.LF_OUTPUT,
    ),
)
USER_SPEECH = _span(
    "user_speech", "INTERNAL", "the user's speech, where the client marked both ends; opt-in", (*g.COMMON, a.TURN_INDEX)
)
AGENT_SPEECH = _span(
    "agent_speech", "INTERNAL", "the answer as the client reported playing it; opt-in", (*g.COMMON, a.TURN_INDEX)
)
CHAT = _span("Chat", "CLIENT", "a typed question over REST, its tools and its answer", (*g.GENERATION, a.ENTRY))

TRACE_NAME = VOICE_SESSION
