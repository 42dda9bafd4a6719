"""Who a span belongs to: carried in the OpenTelemetry context and stamped on every span that is started in it.

Langfuse sums a session over the spans that carry its id, so one that lacks it is missing from the session's cost.
"""

from __future__ import annotations

from dataclasses import dataclass

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue

from voicespan import conventions as c

_KEY = otel_context.create_key("voicespan-identity")
# Langfuse's SDK drops longer values; they are ids, so cutting one would make another.
MAX_ID = 200


@dataclass(frozen=True, slots=True)
class Identity:
    """Ids and labels of one session. `conversation_id` only where the program has one of its own.

    `key_id` names the API key that the session runs on, where the program has such.
    """

    session_id: str
    user_id: str | None = None
    conversation_id: str | None = None
    backend: str | None = None
    key_id: str | None = None
    trace_name: str = c.TRACE_NAME
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("session_id", "user_id", "conversation_id"):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, str):
                raise TypeError(f"{name} must be a str, got {type(value).__name__}")
            if not 0 < len(value) <= MAX_ID:
                raise ValueError(f"{name} must have 1 to {MAX_ID} characters, got {len(value)}")

    def attributes(self) -> dict[str, AttributeValue]:
        """The attributes that every span of the session carries."""
        known: dict[str, AttributeValue | None] = {
            c.SESSION_ID: self.session_id,
            c.USER_ID: self.user_id,
            c.CONVERSATION_ID: self.conversation_id,
            c.BACKEND: self.backend,
            c.KEY_ID: self.key_id,
            c.LF_TRACE_NAME: self.trace_name,
            c.LF_TRACE_TAGS: list(self.tags) or None,
        }
        return {name: value for name, value in known.items() if value is not None}


def in_context(identity: Identity, parent: Context | None = None) -> Context:
    """A context whose spans belong to this session."""
    return otel_context.set_value(_KEY, identity, parent)


def of_context(ctx: Context | None = None) -> Identity | None:
    """The session that a context belongs to."""
    found = otel_context.get_value(_KEY, ctx)
    return found if isinstance(found, Identity) else None


def stamp(span: Span, identity: Identity) -> None:
    """Give a span that was started before its session was known the session's identity."""
    span.set_attributes(identity.attributes())
