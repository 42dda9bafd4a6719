"""One session's OTLP, for docs/: what leaves for a call with a tool, a barge-in and a planned reconnection."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any, cast

from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.id_generator import IdGenerator

from support.story import events
from support.telling import MODEL, Recorder
from voicespan import Capture, Identity, TraceShape, VoiceSession
from voicespan import conventions as c

STORY = (
    "ON MIC VAS EOS I VAE CALL1 .. RESP1 a A T A PLAY1 GC U TC"
    " MIC VAS EOS I VAE .. A T A A PLAY2 GC VAS INT STOP2 U TC GA CUT .. RE I VAE .. A T GC U TC BYE"
)
BEGAN_NS = 1_795_686_000_000_000_000  # 2026-11-26
_TIMES = {"startTimeUnixNano", "endTimeUnixNano", "timeUnixNano"}


class _Ids(IdGenerator):
    def __init__(self) -> None:
        self._count = 0

    def generate_span_id(self) -> int:
        self._count += 1
        return 0x5150_0000_0000_0000 + self._count

    def generate_trace_id(self) -> int:
        return 0x5150_0000_0000_0000_0000_0000_0000_0001


def exported() -> dict[str, Any]:
    """The session's ExportTraceServiceRequest and ExportLogsServiceRequest as JSON, with its times moved to one day."""
    recorder = Recorder(Identity("session-1", "user-1", "session-1", "gemini", tags=("voice", "gemini")), ids=_Ids())
    session = VoiceSession(
        recorder.identity,
        MODEL,
        tracer=recorder.tracer,
        capture=Capture(on_spans=True),
        instructions="Be brief.",
        logger=recorder.logger,
        shape=TraceShape(speech_spans=True),
    )
    began_ns = session.began_ns
    for event, at in events(STORY):
        session.feed(event, began_ns + at)
    found = {
        "traces": MessageToDict(encode_spans(recorder.finished_spans())),
        "logs": MessageToDict(encode_logs(recorder.finished_logs())),
    }
    return cast("dict[str, Any]", _moved(found, BEGAN_NS - began_ns))


def page(found: dict[str, Any]) -> str:
    """docs/one-session.md: every attribute of every span and event, with its value and what it is."""
    lines = [
        "# One session, attribute by attribute",
        "",
        "A call in which the user asks, the model calls a tool and answers; the user talks over the second answer; the",
        "provider announces the end of the connection, and the session goes on over another. This is what leaves the",
        "process, made by `make docs` from the code (a story told to the library, with capture on and a price list of",
        "the tests); the raw OTLP is in [one-session.json](one-session.json).",
        "",
    ]
    spans = found["traces"]["resourceSpans"][0]["scopeSpans"][0]["spans"]
    for span in sorted(spans, key=lambda span: (int(span["startTimeUnixNano"]), span["spanId"])):
        took_ms = (int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])) // 1_000_000
        lines += [f"## {span['name']}", "", f"{span['kind'].removeprefix('SPAN_KIND_')}, {took_ms} ms", ""]
        lines += [*_table(span["attributes"]), ""]
    lines += ["## Log events", ""]
    for record in found["logs"]["resourceLogs"][0]["scopeLogs"][0]["logRecords"]:
        own = [pair for pair in record["attributes"] if pair["key"] not in c.IDENTITY]
        lines += [f"### {record['eventName']}", "", f"{record['severityText']}", "", *_table(own), ""]
    return "\n".join(lines)


def _table(pairs: list[dict[str, Any]]) -> list[str]:
    rows = [
        f"| `{pair['key']}` | {_shown(pair['value'])} | {_brief(pair['key'])} |"
        for pair in sorted(pairs, key=lambda pair: pair["key"])
    ]
    return ["| attribute | value | what it is |", "|---|---|---|", *rows]


def _brief(name: str) -> str:
    if name.startswith(c.LF_METADATA):
        return "the session's total of that name, where Langfuse can filter by it"
    known = c.ATTRIBUTES[name]
    return known.brief + (f" ({known.unit})" if known.unit else "")


def _shown(value: dict[str, Any]) -> str:
    [(kind, found)] = value.items()
    if kind == "arrayValue":
        found = json.dumps([next(iter(item.values())) for item in found["values"]])
    text = str(found).replace("|", "\\|")
    return f"`{text if len(text) <= 160 else text[:157] + '...'}`" if text else "(empty)"


def _moved(value: Any, by_ns: int) -> Any:
    """The same, some time later, and without what differs from run to run."""
    if isinstance(value, list):
        return [_moved(item, by_ns) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("key") == c.LF_COMPLETION_START:
        # Every event of the story falls on a whole centisecond; what was cut below a microsecond is put back.
        at = datetime.fromisoformat(value["value"]["stringValue"]) + timedelta(microseconds=by_ns / 1000 + 500)
        return {**value, "value": {"stringValue": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}000Z"}}
    return {
        key: str(int(item) + by_ns) if key in _TIMES else _moved(item, by_ns)
        for key, item in value.items()
        if key not in {"resource", "observedTimeUnixNano"}
    }
