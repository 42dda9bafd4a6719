"""What shape a session's trace has, where there is a choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

TraceScope = Literal["session", "turn", "auto"]
TRACE_SCOPES: tuple[str, ...] = get_args(TraceScope)
# Tempo takes 5 MB in a trace; the program's own spans have to fit too.
AUTO_SPLIT_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class TraceShape:
    """By default a session is one trace and a turn is its one generation.

    `trace_scope`: with `turn` every turn is a trace of its own, linked with the session's both ways; with `auto` turns
    are so from where the session's trace nears what backends take.
    `generation_spans`: each generation is a span, named as proposed for OpenTelemetry, with its usage; the turn becomes
    a plain container. `speech_spans`: the user's speech and the answer's playback are spans, where both ends were
    marked by the client.
    """

    trace_scope: TraceScope = "session"
    generation_spans: bool = False
    speech_spans: bool = False
