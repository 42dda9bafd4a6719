"""The same calls by a program that knows nothing of the library: google-genai is instrumented."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from support.telling import Recorder
from truth.acts import Case
from truth.expectation import NOT_SAID, Expected, Tool
from voicespan import Capture
from voicespan.instrumentor import GeminiLiveInstrumentor
from voicespan.live_settings import LiveSettings

# In these the program begins another conversation, or leaves a connection that nobody said would end: two sessions.
TWO_SESSIONS = {"refused_handle", "dead_connection"}


@contextmanager
def instrumented(capture: Capture, stall_after_s: float) -> Iterator[Recorder]:
    """What is told of every Live session of this process meanwhile; at the end all are over."""
    recorder = Recorder()
    GeminiLiveInstrumentor().instrument(
        tracer_provider=recorder.provider,
        logger_provider=recorder.logger_provider,
        settings=LiveSettings(session_parent="new", stall_after_s=stall_after_s, backend="simulator"),
        capture=capture,
    )
    try:
        yield recorder
    finally:
        GeminiLiveInstrumentor().uninstrument()


def can_be(case: Case) -> bool:
    """Whether the case is one session to whoever looks from outside."""
    return case.name not in TWO_SESSIONS


def seen_from_outside(expected: Expected) -> Expected:
    """The same call without what only the program knows: why it hung up, and that a tool's time was over."""
    by_program = expected.close_initiator == "client"
    return replace(
        expected,
        turns=tuple(replace(turn, tools=tuple(map(_tool, turn.tools))) for turn in expected.turns),
        close_reason=NOT_SAID if by_program else expected.close_reason,
        close_initiator="server" if by_program else expected.close_initiator,
        error_type=None if by_program or expected.close_code == 1000 else f"close_{expected.close_code}",
    )


def _tool(tool: Tool) -> Tool:
    return replace(tool, outcome="error") if tool.outcome == "timeout" else tool
