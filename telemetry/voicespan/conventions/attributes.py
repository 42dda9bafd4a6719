"""The attributes of spans, events and metrics."""

from __future__ import annotations

from voicespan.conventions.tables import (
    ATTRIBUTES,
    GENAI,
    LANGFUSE,
    OTEL,
    OWN,
    PROPOSED,
    Attribute,
    AttributeType,
    Stability,
)


def _attribute(  # noqa: PLR0917 - a table's row, read as one
    name: str, type_: AttributeType, brief: str, origin: str, unit: str = "", stability: Stability = "development"
) -> str:
    ATTRIBUTES[name] = Attribute(name, type_, unit, brief, origin, stability)
    return name


# --- identity -------------------------------------------------------------------------------------------------------

SESSION_ID = _attribute("session.id", "string", "the voice session", OTEL)
USER_ID = _attribute("user.id", "string", "the user, as the program names them", OTEL)
BACKEND = _attribute(
    "voicespan.backend", "string", "what answered: gemini, vertex or simulator. A simulated call says so here", OWN
)
KEY_ID = _attribute("voicespan.key_id", "string", "the id, not the secret, of the API key the session runs on", OWN)
MODEL = _attribute("voicespan.model", "string", "the model of a session; its turns say so by gen_ai.request.model", OWN)
ENTRY = _attribute("voicespan.entry", "boolean", "the span is the root of what a GenAI backend shows", OWN)

# --- GenAI ----------------------------------------------------------------------------------------------------------

OPERATION_NAME = _attribute(
    "gen_ai.operation.name",
    "string",
    "generate_content, execute_tool or, with generation_spans, realtime_inference",
    GENAI,
)
PROVIDER_NAME = _attribute(
    "gen_ai.provider.name", "string", "gcp.gemini, gcp.vertex_ai, or another that a program names", GENAI
)
CONVERSATION_ID = _attribute("gen_ai.conversation.id", "string", "the program's own id of the conversation", GENAI)
REQUEST_MODEL = _attribute("gen_ai.request.model", "string", "the model asked for", GENAI)
RESPONSE_MODEL = _attribute("gen_ai.response.model", "string", "the model that answered", GENAI)
OUTPUT_TYPE = _attribute("gen_ai.output.type", "string", "speech or text", GENAI)
FINISH_REASONS = _attribute("gen_ai.response.finish_reasons", "string[]", "why the answer stopped: one reason", GENAI)
INPUT_TOKENS = _attribute("gen_ai.usage.input_tokens", "int", "all tokens read, cached ones included", GENAI, "{token}")
OUTPUT_TOKENS = _attribute(
    "gen_ai.usage.output_tokens", "int", "all tokens written, reasoning included", GENAI, "{token}"
)
CACHE_READ_TOKENS = _attribute(
    "gen_ai.usage.cache_read.input_tokens", "int", "input tokens that came from a cache", GENAI, "{token}"
)
REASONING_TOKENS = _attribute(
    "gen_ai.usage.reasoning.output_tokens", "int", "output tokens that were thoughts", GENAI, "{token}"
)
INPUT_MESSAGES = _attribute("gen_ai.input.messages", "JSON string", "what the model was told; opt-in", GENAI)
OUTPUT_MESSAGES = _attribute("gen_ai.output.messages", "JSON string", "what the model answered; opt-in", GENAI)
SYSTEM_INSTRUCTIONS = _attribute("gen_ai.system_instructions", "JSON string", "the instructions; opt-in", GENAI)
TOOL_NAME = _attribute("gen_ai.tool.name", "string", "the tool's name", GENAI)
TOOL_TYPE = _attribute("gen_ai.tool.type", "string", "function", GENAI)
TOOL_CALL_ID = _attribute("gen_ai.tool.call.id", "string", "the provider's id of the call", GENAI)
TOOL_ARGUMENTS = _attribute("gen_ai.tool.call.arguments", "JSON string", "the call's arguments; opt-in", GENAI)
TOOL_RESULT = _attribute("gen_ai.tool.call.result", "JSON string", "what the tool returned; opt-in", GENAI)

SERVER_ADDRESS = _attribute("server.address", "string", "the provider's host", OTEL, stability="stable")
SERVER_PORT = _attribute("server.port", "int", "the provider's port", OTEL, stability="stable")
ERROR_TYPE = _attribute("error.type", "string", "what went wrong, as a low-cardinality name", OTEL, stability="stable")

HTTP_METHOD = _attribute("http.request.method", "string", "GET", OTEL, stability="stable")
HTTP_ROUTE = _attribute("http.route", "string", "the socket's path", OTEL, stability="stable")
HTTP_STATUS = _attribute(
    "http.response.status_code", "int", "101, or what the upgrade was refused with", OTEL, stability="stable"
)
URL_SCHEME = _attribute("url.scheme", "string", "ws or wss", OTEL, stability="stable")
URL_PATH = _attribute("url.path", "string", "without the query: tokens travel in those", OTEL, stability="stable")
NETWORK_PROTOCOL = _attribute("network.protocol.name", "string", "websocket", OTEL, stability="stable")

# --- the session ----------------------------------------------------------------------------------------------------

_SESSION = "voicespan.session."
SESSION_TURNS = _attribute(_SESSION + "turns", "int", "turns", OWN, "{turn}")
SESSION_GENERATIONS = _attribute(_SESSION + "generations", "int", "generations in all turns", OWN, "{generation}")
SESSION_TOOL_CALLS = _attribute(_SESSION + "tool_calls", "int", "tool calls", OWN, "{call}")
SESSION_CONNECTIONS = _attribute(_SESSION + "connections", "int", "connections dialled", OWN, "{connection}")
SESSION_RECONNECTS = _attribute(_SESSION + "reconnects", "int", "connections after the first", OWN, "{connection}")
SESSION_INTERRUPTIONS = _attribute(_SESSION + "interruptions", "int", "answers cut short", OWN, "{interruption}")
SESSION_BARGE_INS = _attribute(_SESSION + "barge_ins", "int", "answers cut short by speech", OWN, "{interruption}")
SESSION_STALLS = _attribute(_SESSION + "stalls", "int", "answers that were due and did not come", OWN, "{stall}")
SESSION_INPUT_AUDIO = _attribute(_SESSION + "input_audio_duration", "double", "audio sent to the model", OWN, "s")
SESSION_OUTPUT_AUDIO = _attribute(_SESSION + "output_audio_duration", "double", "audio the model sent", OWN, "s")
SESSION_DROPPED_AUDIO = _attribute(
    _SESSION + "dropped_audio_duration", "double", "the user's audio that the model did not take in time", OWN, "s"
)
SESSION_FRESH = _attribute(
    _SESSION + "fresh_input_tokens", "int", "input tokens billed for the first time", OWN, "{token}"
)
SESSION_REBILLED = _attribute(
    _SESSION + "rebilled_input_tokens", "int", "input tokens of the conversation so far, billed again", OWN, "{token}"
)
SESSION_COST = _attribute(_SESSION + "cost", "double", "cost of all priced usage, at list price", OWN, "USD")
SESSION_USAGE = _attribute(_SESSION + "usage_details", "JSON string", "tokens by bucket over the session", OWN)
SESSION_PROVIDER_TOTAL = _attribute(
    _SESSION + "provider_total_tokens", "int", "the sum of the provider's own totals", OWN, "{token}"
)
SESSION_TURNS_WITHOUT_USAGE = _attribute(
    _SESSION + "turns_without_usage", "int", "turns the provider reported no usage for", OWN, "{turn}"
)
SESSION_TTFA_P50 = _attribute(_SESSION + "time_to_first_audio.p50", "double", "the median over its turns", OWN, "s")
SESSION_TTFA_P95 = _attribute(_SESSION + "time_to_first_audio.p95", "double", "the 95th percentile", OWN, "s")
SESSION_CLOSE_CODE = _attribute(_SESSION + "close_code", "int", "the client socket's close code", OWN)
SESSION_CLOSE_REASON = _attribute(_SESSION + "close_reason", "string", "the close reason", OWN)
SESSION_CLOSE_INITIATOR = _attribute(_SESSION + "close_initiator", "string", "client, server, provider or process", OWN)

# --- connections to the model ---------------------------------------------------------------------------------------

_CONNECTION = "voicespan.connection."
CONNECTION_INDEX = _attribute(_CONNECTION + "index", "int", "from 1", OWN)
CONNECTION_SETUP = _attribute(_CONNECTION + "setup_duration", "double", "from dialling to the setup's answer", OWN, "s")
CONNECTION_GAP = _attribute(
    _CONNECTION + "gap_duration", "double", "time without service before this connection took over", OWN, "s"
)
CONNECTION_RESUMED = _attribute(_CONNECTION + "resumed", "boolean", "a resumption handle was presented", OWN)
CONNECTION_HANDLE_AGE = _attribute(_CONNECTION + "handle_age", "double", "how old that handle was", OWN, "s")
CONNECTION_CLOSE_CODE = _attribute(
    _CONNECTION + "close_code", "int", "close code of the connection this one replaces, or of the failed attempt", OWN
)
CONNECTION_CLOSE_REASON = _attribute(_CONNECTION + "close_reason", "string", "its reason", OWN)
CONNECTION_CLOSE_INITIATOR = _attribute(
    _CONNECTION + "close_initiator", "string", "who closed it: client, server, provider or process", OWN
)
CONNECTION_GO_AWAY = _attribute(
    _CONNECTION + "go_away.time_left", "double", "what the provider's notice left to the former one", OWN, "s"
)

# --- turns ----------------------------------------------------------------------------------------------------------

_TURN = "voicespan.turn."
TURN_INDEX = _attribute(_TURN + "index", "int", "from 1", OWN)
TURN_START_SOURCE = _attribute(
    _TURN + "start_source",
    "string",
    "what the turn's start was taken from: activity_end, audio_stream_end, acoustic, server_activity_end, "
    "client_content, tool_response, input_transcription, first_output or model_initiated",
    OWN,
)
TURN_START_CONFIDENCE = _attribute(_TURN + "start_confidence", "string", "measured or inferred", OWN)
TURN_END_REASON = _attribute(
    _TURN + "end_reason",
    "string",
    "why the turn ended: completed, interrupted, cancelled, session_closed, go_away, stalled or error",
    OWN,
)
TURN_INTERRUPTED = _attribute(_TURN + "interrupted", "boolean", "the rest of the answer was dropped", OWN)
TURN_INTERRUPTION_CAUSE = _attribute(
    _TURN + "interruption_cause", "string", "speech (a barge-in), text, tool_response or retracted", OWN
)
TURN_GENERATIONS = _attribute(_TURN + "generations", "int", "generations in this turn", OWN, "{generation}")
TURN_STALL_KIND = _attribute(
    _TURN + "stall_kind",
    "string",
    "how an expected answer failed to come: no_answer, no_generation, unfinished, tool_response_ignored, empty_turn "
    "or resumed_dead",
    OWN,
)
TURN_SEARCHES = _attribute(_TURN + "searches", "int", "web searches that the answer rests on", OWN, "{search}")
TTFA = _attribute(
    "voicespan.time_to_first_audio",
    "double",
    "from the turn's start to its first 10 ms of audio; absent where no start before the output is known",
    OWN,
    "s",
)
TTAA = _attribute(
    "voicespan.time_to_audible_audio",
    "double",
    "as time_to_first_audio, plus the silence that it begins with",
    OWN,
    "s",
)
TTP = _attribute(
    "voicespan.time_to_playback", "double", "from the turn's start until the client said that it plays", OWN, "s"
)
_LATENCY = "voicespan.latency."
LATENCY_ENDPOINTING = _attribute(
    _LATENCY + "endpointing",
    "double",
    "from the end of the user's sound to the provider's decision that speech had ended",
    OWN,
    "s",
)
LATENCY_ENDPOINTING_OWNER = _attribute(
    _LATENCY + "endpointing.owner", "string", "the setting that decides how long that takes", OWN
)
LATENCY_TOOL = _attribute(_LATENCY + "tool", "double", "tools that ran before the first audio", OWN, "s")
LATENCY_MODEL = _attribute(
    _LATENCY + "model",
    "double",
    "from the decision to the first audio, less tools; absent where the decision is not known",
    OWN,
    "s",
)
LATENCY_TRANSPORT = _attribute(
    _LATENCY + "transport",
    "double",
    "from the first audio's arrival to its playback, as the client reported it",
    OWN,
    "s",
)
INPUT_AUDIO = _attribute(
    "voicespan.audio.input_duration", "double", "audio sent to the model since the turn before was told", OWN, "s"
)
OUTPUT_AUDIO = _attribute("voicespan.audio.output_duration", "double", "audio the model sent in this turn", OWN, "s")
HEARD_AUDIO = _attribute(
    "voicespan.audio.heard_duration", "double", "how much of an interrupted answer had been played", OWN, "s"
)
HEARD_SOURCE = _attribute(
    "voicespan.audio.heard_source", "string", "reported by the client, or inferred from the clock", OWN
)
RECORDED_INPUT = _attribute(
    "voicespan.recording.input_duration",
    "double",
    "how much of the user's speech was recorded, where that was asked for",
    OWN,
    "s",
)
RECORDED_OUTPUT = _attribute(
    "voicespan.recording.output_duration",
    "double",
    "how much of the answer was recorded, where that was asked for",
    OWN,
    "s",
)
RECORDING_CUT = _attribute(
    "voicespan.recording.cut", "boolean", "a side was longer than is kept, and its oldest part dropped", OWN
)
TIME_TO_SILENCE = _attribute(
    "voicespan.barge_in.time_to_silence",
    "double",
    "from the user's talking over the answer to the silence that the client reported",
    OWN,
    "s",
)
USAGE_FRESH = _attribute(
    "voicespan.usage.fresh_input_tokens", "int", "input tokens billed for the first time", OWN, "{token}"
)
USAGE_REBILLED = _attribute(
    "voicespan.usage.rebilled_input_tokens",
    "int",
    "input tokens that repeat the conversation so far, as every turn's prompt does",
    OWN,
    "{token}",
)
USAGE_SOURCE = _attribute(
    "voicespan.usage.source",
    "string",
    "provider, missing, or estimated (buckets in _estimated)",
    OWN,
)
PROVIDER_TOTAL = _attribute(
    "voicespan.usage.provider_total_tokens",
    "int",
    "the provider's own total; Gemini leaves thoughts out",
    OWN,
    "{token}",
)
COST_SOURCE = _attribute("voicespan.cost.source", "string", "whose price list was used", OWN)
COST_VERSION = _attribute("voicespan.cost.version", "string", "its version", OWN)
TOOL_BLOCKING = _attribute(
    "voicespan.tool.blocking", "boolean", "the model waits for the response; where it does not, it goes on talking", OWN
)
TOOL_RESPONSES = _attribute("voicespan.tool.responses", "int", "responses that were sent", OWN, "{response}")
TOOL_OUTCOME = _attribute("voicespan.tool.outcome", "string", "ok, error, timeout, cancelled or orphaned", OWN)

# --- links and events -----------------------------------------------------------------------------------------------

LINK = _attribute("voicespan.link", "string", "what a link leads to: client, session or turn", OWN)
ANOMALY = _attribute(
    "voicespan.anomaly",
    "string",
    "what came that should not have: unreadable_message, late_transcript, duplicate_tool_call, "
    "tool_response_without_call, turn_complete_without_turn or answer_cut_short",
    OWN,
)
REALTIME_SESSION_ID = _attribute(
    "gen_ai.realtime_session.id", "string", "one connection to the model: the session's id and the index", PROPOSED
)

# --- Langfuse -------------------------------------------------------------------------------------------------------

LF_TRACE_NAME = _attribute("langfuse.trace.name", "string", "the trace's name, on every span of it", LANGFUSE)
LF_TRACE_TAGS = _attribute("langfuse.trace.tags", "string[]", "the trace's tags, on every span of it", LANGFUSE)
LF_TYPE = _attribute("langfuse.observation.type", "string", "agent, generation, tool, span or event", LANGFUSE)
LF_INPUT = _attribute("langfuse.observation.input", "JSON string", "chat messages in; opt-in", LANGFUSE)
LF_OUTPUT = _attribute("langfuse.observation.output", "JSON string", "chat messages out; opt-in", LANGFUSE)
LF_MODEL = _attribute("langfuse.observation.model.name", "string", "the model, without a path", LANGFUSE)
LF_USAGE = _attribute("langfuse.observation.usage_details", "JSON string", "tokens in disjoint buckets", LANGFUSE)
LF_COST = _attribute("langfuse.observation.cost_details", "JSON string", "USD by the same buckets and total", LANGFUSE)
LF_COMPLETION_START = _attribute(
    "langfuse.observation.completion_start_time", "string", "the first audio, ISO 8601 in UTC", LANGFUSE
)
LF_LEVEL = _attribute("langfuse.observation.level", "string", "WARNING where something is off but no error", LANGFUSE)
LF_METADATA = "langfuse.observation.metadata."

# --- attributes of metrics alone --------------------------------------------------------------------------------------

TOKEN_TYPE = _attribute("gen_ai.token.type", "string", "input or output", GENAI)
TOKEN_BUCKET = _attribute("voicespan.token.bucket", "string", "the usage bucket, such as input_audio", OWN)
LATENCY_PART = _attribute("voicespan.latency.part", "string", "endpointing, tool, model or transport", OWN)
AUDIO_DIRECTION = _attribute("voicespan.audio.direction", "string", "input (to the model) or output", OWN)
SIGNAL = _attribute("voicespan.signal", "string", "traces, logs, scores or media", OWN)
