"""What text may leave the process: transcripts, messages, tool arguments and results, instructions.

Off unless asked for by OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT: NO_CONTENT, SPAN_ONLY, EVENT_ONLY or
SPAN_AND_EVENT. The event is `gen_ai.client.inference.operation.details`, one for each turn.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from voicespan.guard import report
from voicespan.redaction import redact, redact_values

CAPTURE_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
# By mode: on spans, on events.
_MODES = {
    "NO_CONTENT": (False, False),
    "SPAN_ONLY": (True, False),
    "EVENT_ONLY": (False, True),
    "SPAN_AND_EVENT": (True, True),
}

_SURROGATES = re.compile("[\ud800-\udfff]")

# One captured field holds at most this many characters: backends cut or reject spans beyond a few megabytes.
MAX_FIELD = 16_384

# Made once: `json.dumps` makes an encoder for each value that it is given such options for.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Capture:
    """Whether content goes on spans and events, and what is done to each text first: by default, it is redacted."""

    on_spans: bool = False
    on_events: bool = False
    redact: Callable[[str], str] = redact

    @property
    def anywhere(self) -> bool:
        """Whether any text may leave."""
        return self.on_spans or self.on_events

    def text(self, text: str) -> str:
        """A text as it may leave: redacted, then cut to `MAX_FIELD` characters."""
        return _cut(encodable(self._redacted(text)))

    def json(self, value: object) -> str:
        """A JSON-like value as it may leave: the strings in it redacted, then encoded; too long, it is JSON still.

        What did not fit then stands as `{"beginning": the first of it, "more_characters": how many there were}`.
        """
        try:
            text = to_json(redact_values(value, self._redacted))
        except Exception as error:  # noqa: BLE001 - a value of the program's may hold itself, or fail in any way
            report(error)
            text = to_json("[cannot be shown as JSON]")
        if len(text) <= MAX_FIELD:
            return text
        kept = MAX_FIELD // 2  # quotes in it are escaped once more
        return to_json({"beginning": text[:kept], "more_characters": len(text) - kept})

    def _redacted(self, text: str) -> str:
        """What cannot be redacted does not leave; a program's own `redact` may fail in any way."""
        try:
            redacted: object = self.redact(text)
            if not isinstance(redacted, str):  # but None, say, where it forgot its `return`
                raise TypeError(f"redact returned {type(redacted).__name__}")
            return redacted
        except Exception as error:  # noqa: BLE001
            report(error)
            return "[redaction failed]"

    def error(self, text: str | None, kind: str) -> str:
        """What a span's status says: an error's text can hold content, so without capture it is only of a kind."""
        return self.text(text) if text and self.on_spans else kind


def to_json(value: object) -> str:
    """Compact JSON; what JSON cannot hold becomes a string."""
    return encodable(_encode(value))


def numbers_json(found: Mapping[str, float]) -> str:
    """As `to_json`, of plain names and finite numbers: what a turn's usage and cost are told in, at half the cost."""
    return "{" + ",".join([f'"{name}":{number!r}' for name, number in found.items()]) + "}"


def encodable(text: str) -> str:
    r"""A text that UTF-8 can hold: JSON's `\ud800` is half a character, for which an exporter would drop the whole."""
    return text if text.isascii() else _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def _cut(text: str) -> str:
    """At most `MAX_FIELD` characters, the last of which say about how many are missing."""
    if len(text) <= MAX_FIELD:
        return text
    kept = MAX_FIELD - len(_missing(len(text)))
    missing = _missing(len(text) - kept)
    return text[: MAX_FIELD - len(missing)] + missing


def _missing(count: int) -> str:
    return f" [… about {count} more characters]"


def capture_from_environment(environ: Mapping[str, str] = os.environ) -> Capture:
    """The capture mode that the standard variable asks for; anything it does not know captures nothing."""
    asked = environ.get(CAPTURE_VARIABLE, "").strip()
    mode = _MODES.get(asked.upper() or "NO_CONTENT")
    if mode is None:
        logger.warning("%s=%r is none of %s: no content is captured", CAPTURE_VARIABLE, asked, ", ".join(_MODES))
    on_spans, on_events = mode or _MODES["NO_CONTENT"]
    return Capture(on_spans, on_events)
