"""Who the sessions of a block of code belong to, said by the program."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context as otel_context

from voicespan import identity as ident
from voicespan.identity import Identity


@contextmanager
def session_context(
    session_id: str | None = None,
    user_id: str | None = None,
    *,
    conversation_id: str | None = None,
    tags: tuple[str, ...] = (),
) -> Iterator[Identity]:
    """Sessions that are connected inside belong to this session and user; all in one block are one session.

    Without a `session_id`, or with an empty one, the block gets one of its own. `conversation_id` only where the
    program has such an id. Where the pipeline stamps identities (`voicespan.sdk`), every other span that is started
    inside carries them too. Enter and leave it in one task.

        with voicespan.session_context(session_id=call_id, user_id=user.pseudonym):
            async with client.aio.live.connect(model=..., config=...) as session:
                ...

    Raises:
        ValueError: an id that is longer than Langfuse keeps, or another than `session_id` that is empty.
        TypeError: an id that is no text, as a number from a database.
    """
    identity = Identity(session_id or uuid.uuid4().hex, user_id, conversation_id, tags=tags)
    token = otel_context.attach(ident.in_context(identity))
    try:
        yield identity
    finally:
        otel_context.detach(token)
