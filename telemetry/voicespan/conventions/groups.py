"""Attributes that stand together, on spans and on events."""

from __future__ import annotations

from voicespan.conventions import attributes as a
from voicespan.conventions.tables import ATTRIBUTES

IDENTITY = (a.SESSION_ID, a.USER_ID, a.CONVERSATION_ID, a.BACKEND, a.KEY_ID, a.LF_TRACE_NAME, a.LF_TRACE_TAGS)
COMMON = (*IDENTITY, a.LF_TYPE, a.ERROR_TYPE)
ENDPOINT = (a.PROVIDER_NAME, a.SERVER_ADDRESS, a.SERVER_PORT)
USAGE = (
    a.USAGE_SOURCE,
    a.INPUT_TOKENS,
    a.OUTPUT_TOKENS,
    a.CACHE_READ_TOKENS,
    a.REASONING_TOKENS,
    a.PROVIDER_TOTAL,
    a.USAGE_FRESH,
    a.USAGE_REBILLED,
    a.LF_USAGE,
    a.LF_COST,
    a.COST_SOURCE,
    a.COST_VERSION,
)
TEXT = (a.INPUT_MESSAGES, a.OUTPUT_MESSAGES, a.SYSTEM_INSTRUCTIONS, a.LF_INPUT, a.LF_OUTPUT)
GENERATION = (
    *COMMON,
    *ENDPOINT,
    a.OPERATION_NAME,
    a.REQUEST_MODEL,
    a.RESPONSE_MODEL,
    a.OUTPUT_TYPE,
    a.FINISH_REASONS,
    a.TURN_END_REASON,
    a.TURN_GENERATIONS,
    a.LF_MODEL,
    a.LF_LEVEL,
    *USAGE,
    *TEXT,
)
CLOSE = (a.SESSION_CLOSE_CODE, a.SESSION_CLOSE_REASON, a.SESSION_CLOSE_INITIATOR)
CONNECTION_CLOSE = (a.CONNECTION_CLOSE_CODE, a.CONNECTION_CLOSE_REASON, a.CONNECTION_CLOSE_INITIATOR)
SESSION_TOTALS = tuple(name for name in ATTRIBUTES if name.startswith("voicespan.session.") and name not in CLOSE)
