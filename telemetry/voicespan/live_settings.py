"""What the instrumentation of google-genai can be told, by arguments or by environment variables."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar, get_args

from voicespan.shape import TRACE_SCOPES, TraceScope, TraceShape
from voicespan.stalls import STALL_AFTER_S

logger = logging.getLogger(__name__)

SessionParent = Literal["inherit", "new"]
BACKENDS = ("gemini", "vertex", "simulator")
RESUME_WINDOW_S = 10.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """How the sessions of a program are told.

    `session_parent`: the session's span is a child of the span that is current at connect (`inherit`), or the root of a
    trace of its own (`new`). `stall_after_s`: how long an answer may be due before it counts as missing; None looks for
    no stalls. `resume_window_s`: how long a session that lost its connection, or was told that it will, is held open
    for a connect() that presents its handle. `backend` says what answers where the client cannot know, as `simulator`.
    """

    session_parent: SessionParent = "inherit"
    shape: TraceShape = field(default_factory=TraceShape)
    stall_after_s: float | None = STALL_AFTER_S
    resume_window_s: float = RESUME_WINDOW_S
    backend: str | None = None


def settings_from_environment(environ: Mapping[str, str] = os.environ) -> LiveSettings:
    """The settings of the environment; a value that is none is named in the log, and the default holds."""

    def read(name: str, default: T, parse: Callable[[str], T]) -> T:
        asked = environ.get(name, "").strip()
        if not asked:
            return default
        try:
            return parse(asked)
        except ValueError as error:
            logger.warning("%s=%r: %s; %r holds", name, asked, error, default)
            return default

    default = LiveSettings()
    return LiveSettings(
        session_parent=read("VOICESPAN_SESSION_PARENT", default.session_parent, _session_parent),
        shape=TraceShape(
            read("VOICESPAN_TRACE_SCOPE", default.shape.trace_scope, _trace_scope),
            read("VOICESPAN_GENERATION_SPANS", default.shape.generation_spans, _flag),
            read("VOICESPAN_SPEECH_SPANS", default.shape.speech_spans, _flag),
        ),
        stall_after_s=read("VOICESPAN_STALL_AFTER_S", default.stall_after_s, _seconds) or None,
        resume_window_s=read("VOICESPAN_RESUME_WINDOW_S", default.resume_window_s, _seconds),
        backend=read("VOICESPAN_BACKEND", None, _backend),
    )


def _one_of(known: tuple[str, ...], asked: str) -> str:
    if asked.lower() not in known:
        raise ValueError(f"it is none of {', '.join(known)}")
    return asked.lower()


def _session_parent(asked: str) -> SessionParent:
    return "new" if _one_of(get_args(SessionParent), asked) == "new" else "inherit"


def _trace_scope(asked: str) -> TraceScope:
    found = _one_of(TRACE_SCOPES, asked)
    return next(scope for scope in get_args(TraceScope) if scope == found)


def _backend(asked: str) -> str | None:
    # The server's own setting of this name also knows `auto`.
    found = _one_of((*BACKENDS, "auto"), asked)
    return None if found == "auto" else found


def _flag(asked: str) -> bool:
    return _one_of(("true", "false", "1", "0"), asked) in {"true", "1"}


def _seconds(asked: str) -> float:
    try:
        seconds = float(asked)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < float("inf"):
        raise ValueError("it is no number of seconds, 0 or more")
    return seconds
