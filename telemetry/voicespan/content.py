"""What text may leave the process: transcripts, messages, tool arguments and results, instructions.

Off unless asked for by OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT (NO_CONTENT, SPAN_ONLY, EVENT_ONLY or
SPAN_AND_EVENT). Spans are where Voicespan puts content, so EVENT_ONLY leaves it out of them.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from voicespan.guard import report
from voicespan.redaction import redact, redact_values

CAPTURE_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_MODES = {"NO_CONTENT": False, "EVENT_ONLY": False, "SPAN_ONLY": True, "SPAN_AND_EVENT": True}

# One captured field holds at most this many characters: backends cut or reject spans beyond a few megabytes.
MAX_FIELD = 16_384
_CUT = " […]"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Capture:
    """Whether content goes on spans, and what is done to each text first: by default, `voicespan.redaction`."""

    on_spans: bool = False
    redact: Callable[[str], str] = redact

    def text(self, text: str) -> str:
        """A text as it may leave: redacted, then cut to `MAX_FIELD` characters."""
        return _cut(self._redacted(text))

    def json(self, value: object) -> str:
        """A JSON-like value as it may leave: the strings in it redacted, encoded, then cut."""
        return _cut(to_json(redact_values(value, self._redacted)))

    def _redacted(self, text: str) -> str:
        """What cannot be redacted does not leave; a program's own `redact` may fail in any way."""
        try:
            return self.redact(text)
        except Exception as error:  # noqa: BLE001
            report(error)
            return "[redaction failed]"

    def error(self, text: str | None, kind: str) -> str:
        """What a span's status says: an error's text can hold content, so without capture it is only of a kind."""
        return self.text(text) if text and self.on_spans else kind


def to_json(value: object) -> str:
    """Compact JSON; what JSON cannot hold becomes a string."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_FIELD else text[: MAX_FIELD - len(_CUT)] + _CUT


def capture_from_environment(environ: Mapping[str, str] = os.environ) -> Capture:
    """The capture mode that the standard variable asks for; anything it does not know captures nothing."""
    asked = environ.get(CAPTURE_VARIABLE, "").strip()
    mode = _MODES.get(asked.upper() or "NO_CONTENT")
    if mode is None:
        logger.warning("%s=%r is none of %s: no content is captured", CAPTURE_VARIABLE, asked, ", ".join(_MODES))
    return Capture(on_spans=bool(mode))
