"""The metrics, with the buckets that they advise."""

from __future__ import annotations

from typing import Literal

from voicespan.conventions import attributes as a
from voicespan.conventions.tables import GENAI, METRICS, OWN, Metric

# Every one carries these, and what its row names; but what begins so is of the process, not of its sessions.
METRIC_ATTRIBUTES = (a.PROVIDER_NAME, a.REQUEST_MODEL, a.BACKEND)
OF_PROCESS = (
    "voicespan.telemetry.",
    "voicespan.store.",
    "voicespan.sender.",
    "voicespan.event_loop.",
    "voicespan.server.",
)
_LAG_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
_OPERATION_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = tuple(float(4**power) for power in range(14))
_LATENCY_S = (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 10.0)
_TURN_S = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
_SESSION_S = (1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)
_SETUP_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


def _histogram(  # noqa: PLR0917 - a table's row, read as one
    name: str, unit: str, brief: str, origin: str, attributes: tuple[str, ...], buckets: tuple[float, ...]
) -> str:
    METRICS[name] = Metric(name, "histogram", unit, brief, origin, attributes, buckets)
    return name


def _counter(name: str, unit: str, brief: str, attributes: tuple[str, ...] = ()) -> str:
    METRICS[name] = Metric(name, "counter", unit, brief, OWN, attributes)
    return name


METRIC_OPERATION_DURATION = _histogram(
    "gen_ai.client.operation.duration",
    "s",
    "each generation of the model",
    GENAI,
    (a.OPERATION_NAME, a.ERROR_TYPE),
    _OPERATION_S,
)
METRIC_TOKEN_USAGE = _histogram(
    "gen_ai.client.token.usage", "{token}", "tokens of each turn", GENAI, (a.OPERATION_NAME, a.TOKEN_TYPE), _TOKENS
)
METRIC_TOOL_DURATION = _histogram(
    "gen_ai.execute_tool.duration",
    "s",
    "from the model's call to the response; beyond a hundred names of tools the name is _OTHER",
    GENAI,
    (a.OPERATION_NAME, a.TOOL_NAME, a.TOOL_OUTCOME, a.ERROR_TYPE),
    _OPERATION_S,
)
METRIC_TTFA = _histogram(
    "voicespan.time_to_first_audio",
    "s",
    "from a turn's start to its first 10 ms of audio",
    OWN,
    (a.TURN_START_SOURCE,),
    _LATENCY_S,
)
METRIC_TTAA = _histogram(
    "voicespan.time_to_audible_audio",
    "s",
    "as time to first audio, plus the silence that it begins with",
    OWN,
    (a.TURN_START_SOURCE,),
    _LATENCY_S,
)
METRIC_TTP = _histogram(
    "voicespan.time_to_playback",
    "s",
    "from a turn's start until the client said that it plays",
    OWN,
    (a.TURN_START_SOURCE,),
    _LATENCY_S,
)
METRIC_LATENCY = _histogram(
    "voicespan.latency", "s", "what a user waited for, in parts", OWN, (a.LATENCY_PART,), (0.01, 0.05, *_LATENCY_S)
)
METRIC_GAP = _histogram(
    "voicespan.inter_turn.gap",
    "s",
    "from the end of an answer to the start of the next turn",
    OWN,
    (),
    (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0),
)
METRIC_HEARD_RATIO = _histogram(
    "voicespan.interruption.heard_ratio",
    "1",
    "how much of an interrupted answer had been played",
    OWN,
    (a.HEARD_SOURCE, a.TURN_INTERRUPTION_CAUSE),
    (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0),
)
METRIC_TIME_TO_SILENCE = _histogram(
    "voicespan.barge_in.time_to_silence",
    "s",
    "from the user's talking over an answer to the silence that the client reported",
    OWN,
    (),
    _LATENCY_S,
)
METRIC_TURN_DURATION = _histogram("voicespan.turn.duration", "s", "turns", OWN, (a.TURN_END_REASON,), _TURN_S)
METRIC_SESSION_DURATION = _histogram(
    "voicespan.session.duration",
    "s",
    "calls, from accept to close; a client's own codes, above 2999, are told as 3xxx and 4xxx",
    OWN,
    (a.SESSION_CLOSE_CODE, a.SESSION_CLOSE_INITIATOR),
    _SESSION_S,
)
METRIC_SETUP_DURATION = _histogram(
    "voicespan.connection.setup.duration",
    "s",
    "from dialling the model to its setup's answer",
    OWN,
    (a.CONNECTION_RESUMED, a.ERROR_TYPE),
    _SETUP_S,
)
METRIC_TURNS = _counter("voicespan.turns", "{turn}", "turns that ended", (a.TURN_END_REASON,))
METRIC_INTERRUPTIONS = _counter(
    "voicespan.interruptions", "{interruption}", "answers cut short", (a.TURN_INTERRUPTION_CAUSE,)
)
METRIC_STALLS = _counter(
    "voicespan.turn.stalls", "{stall}", "answers that were due and did not come", (a.TURN_STALL_KIND,)
)
METRIC_TOKENS = _counter(
    "voicespan.tokens", "{token}", "tokens that the provider reported, by bucket", (a.TOKEN_TYPE, a.TOKEN_BUCKET)
)
METRIC_COST = _counter(
    "voicespan.cost",
    "USD",
    "of reported tokens, at list price; simulated calls cost nothing here",
    (a.TOKEN_TYPE, a.TOKEN_BUCKET),
)
METRIC_AUDIO = _counter("voicespan.audio.duration", "s", "audio sent to and by the model", (a.AUDIO_DIRECTION,))
METRIC_DROPPED_AUDIO = _counter("voicespan.audio.dropped", "s", "the user's audio that the model did not take in time")
METRIC_ANOMALIES = _counter("voicespan.anomalies", "{event}", "what came that should not have", (a.ANOMALY,))
METRIC_RECONNECTS = _counter(
    "voicespan.connection.reconnects",
    "{connection}",
    "connections after a session's first",
    (a.CONNECTION_RESUMED, a.ERROR_TYPE),
)
METRIC_GO_AWAYS = _counter("voicespan.connection.go_aways", "{notice}", "notices that a connection will be cut")
METRIC_CLOSES = _counter(
    "voicespan.connection.closes", "{connection}", "connections that served and ended", (a.CONNECTION_CLOSE_CODE,)
)
METRIC_SESSIONS_ACTIVE = "voicespan.sessions.active"
METRICS[METRIC_SESSIONS_ACTIVE] = Metric(
    METRIC_SESSIONS_ACTIVE, "updowncounter", "{session}", "calls in progress", OWN, ()
)
METRIC_REFUSED = _counter(
    "voicespan.server.refused", "{request}", "calls and requests that the server did not let in", (a.ERROR_TYPE,)
)
METRIC_LOOP_LAG = _histogram(
    "voicespan.event_loop.lag", "s", "by how much the server's event loop is late, read twice a second", OWN, (), _LAG_S
)
METRIC_ERRORS = "voicespan.telemetry.errors"
METRICS[METRIC_ERRORS] = Metric(
    METRIC_ERRORS, "counter", "{error}", "errors of telemetry's own, swallowed so that the call goes on", OWN, ()
)
# What the store and the senders tell of themselves, read when it is collected; no session's attributes.


def _self_metric(
    name: str, instrument: Literal["counter", "gauge"], unit: str, brief: str, attributes: tuple[str, ...] = ()
) -> str:
    METRICS[name] = Metric(name, instrument, unit, brief, OWN, attributes)
    return name


METRIC_STORE_QUEUED = _self_metric("voicespan.store.queued", "gauge", "{record}", "what waits to be sent", (a.SIGNAL,))
METRIC_STORE_OLDEST = _self_metric(
    "voicespan.store.oldest_age", "gauge", "s", "how long the oldest of it has waited", (a.SIGNAL,)
)
METRIC_STORE_SIZE = _self_metric("voicespan.store.size", "gauge", "By", "the store's files on disk")
METRIC_STORE_WRITTEN = _self_metric("voicespan.store.written", "counter", "{record}", "records stored")
METRIC_STORE_DROPPED = _self_metric("voicespan.store.dropped", "counter", "{record}", "records lost to a bound")
METRIC_STORE_RECOVERED = _self_metric(
    "voicespan.store.recovered_sessions", "counter", "{session}", "sessions closed for a process that died"
)
METRIC_SENDER_SENT = _self_metric("voicespan.sender.sent", "counter", "{record}", "records accepted", (a.SIGNAL,))
METRIC_SENDER_REJECTED = _self_metric(
    "voicespan.sender.rejected", "counter", "{record}", "records that the receiver refused for good", (a.SIGNAL,)
)
METRIC_SENDER_FAILED = _self_metric(
    "voicespan.sender.failed", "counter", "{request}", "requests that failed and are tried again", (a.SIGNAL,)
)
