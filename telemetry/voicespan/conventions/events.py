"""The log events."""

from __future__ import annotations

from voicespan.conventions import attributes as a
from voicespan.conventions import groups as g
from voicespan.conventions.tables import EVENTS, GENAI, OWN, PROPOSED, EventName


def _event(name: str, brief: str, attributes: tuple[str, ...], origin: str = OWN, *, mirrored: bool = True) -> str:
    EVENTS[name] = EventName(name, brief, origin, attributes, mirrored)
    return name


EVENT_CONNECTION_STARTED = _event(
    "gen_ai.client.realtime_session.started",
    "a connection to the model serves",
    (*g.ENDPOINT, a.REQUEST_MODEL, a.REALTIME_SESSION_ID, a.CONNECTION_INDEX),
    PROPOSED,
)
EVENT_CONNECTION_ENDED = _event(
    "gen_ai.client.realtime_session.ended",
    "a connection that served has ended",
    (*g.ENDPOINT, a.REQUEST_MODEL, a.REALTIME_SESSION_ID, a.CONNECTION_INDEX, *g.CONNECTION_CLOSE, a.ERROR_TYPE),
    PROPOSED,
)
EVENT_RECONNECT = _event(
    "voicespan.reconnect", "another connection is dialled in the place of one that ended", (a.CONNECTION_INDEX,)
)
EVENT_RESUMED = _event(
    "voicespan.resumed",
    "another connection serves",
    (a.CONNECTION_INDEX, a.CONNECTION_GAP, a.CONNECTION_RESUMED, a.CONNECTION_HANDLE_AGE),
)
EVENT_GO_AWAY = _event("voicespan.go_away", "the provider will cut the connection", (a.CONNECTION_GO_AWAY,))
EVENT_STALL = _event("voicespan.stall", "an answer has been due for too long", (a.TURN_INDEX, a.TURN_STALL_KIND))
EVENT_LATE_INTERRUPTION = _event(
    "voicespan.late_interruption",
    "an answer was cut, while it was played, whose turn had been told",
    (a.TURN_INDEX, a.TURN_INTERRUPTION_CAUSE),
)
EVENT_LOOSE_USAGE = _event(
    "voicespan.usage_without_turn", "usage that belongs to no turn: the session's", (a.LF_USAGE, a.PROVIDER_TOTAL)
)
EVENT_PROTOCOL_ERROR = _event(
    "voicespan.protocol_error", "something came that should not have", (a.ANOMALY, a.ERROR_TYPE)
)
EVENT_SUMMARY = _event(
    "voicespan.session.summary",
    "a session's totals, as on its span",
    (*g.SESSION_TOTALS, *g.CLOSE, a.ERROR_TYPE),
    mirrored=False,
)
EVENT_DETAILS = _event(
    "gen_ai.client.inference.operation.details",
    "what was said in a turn; opt-in",
    (
        *g.ENDPOINT,
        a.OPERATION_NAME,
        a.REQUEST_MODEL,
        a.RESPONSE_MODEL,
        a.OUTPUT_TYPE,
        a.FINISH_REASONS,
        a.TURN_INDEX,
        a.INPUT_TOKENS,
        a.OUTPUT_TOKENS,
        a.INPUT_MESSAGES,
        a.OUTPUT_MESSAGES,
        a.SYSTEM_INSTRUCTIONS,
    ),
    GENAI,
    mirrored=False,
)
