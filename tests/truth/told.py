"""What telemetry said about a call: its spans, logs and metrics as a receiver has them, in the order of the call."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property

from support.received import ReceivedLog, ReceivedMetric, ReceivedSpan, Value
from support.telling import Recorder
from voicespan import conventions as c


@dataclass
class Told:
    """A call as it was told. `metrics` is None where they are of other calls too."""

    spans: list[ReceivedSpan]
    logs: list[ReceivedLog]
    metrics: list[ReceivedMetric] | None

    @cached_property
    def session(self) -> ReceivedSpan:
        [found] = [span for span in self.spans if span.name == c.WEBSOCKET_SESSION]
        return found

    @cached_property
    def turns(self) -> list[ReceivedSpan]:
        return sorted((s for s in self.spans if c.TURN_INDEX in s.attributes), key=lambda s: s.attributes[c.TURN_INDEX])

    @cached_property
    def connections(self) -> list[ReceivedSpan]:
        found = (span for span in self.spans if c.CONNECTION_INDEX in span.attributes)
        return sorted(found, key=lambda span: span.attributes[c.CONNECTION_INDEX])

    @cached_property
    def tools(self) -> dict[str, ReceivedSpan]:
        return {str(s.attributes[c.TOOL_CALL_ID]): s for s in self.spans if c.TOOL_CALL_ID in s.attributes}

    def tool(self, call_id: str, *, unnamed: bool) -> ReceivedSpan | None:
        """A call's span; one whose id was never sent is the next of those that the library had to name itself."""
        if not unnamed:
            return self.tools.get(call_id)
        if call_id not in self._unnamed:
            made_up = sorted((id_ for id_ in self.tools if id_.startswith("unnamed-")), key=lambda id_: int(id_[8:]))
            self._unnamed[call_id] = self.tools.get(next(iter(made_up[len(self._unnamed) :]), ""))
        return self._unnamed[call_id]

    @cached_property
    def _unnamed(self) -> dict[str, ReceivedSpan | None]:
        return {}

    @cached_property
    def paths(self) -> list[str]:
        return sorted(map(self._path, self.spans))

    def _path(self, span: ReceivedSpan) -> str:
        parents = [other for other in self.spans if other.span_id == span.parent_span_id]
        return f"{self._path(parents[0])} / {span.name}" if parents else span.name

    @cached_property
    def links(self) -> list[tuple[str, Value]]:
        """Tools that link to a turn, and which."""
        index = {turn.span_id: turn.attributes[c.TURN_INDEX] for turn in self.turns}
        tools = sorted((s for s in self.spans if c.TOOL_NAME in s.attributes), key=lambda s: s.start_ns)
        return [(str(t.attributes[c.TOOL_NAME]), index.get(link.span_id)) for t in tools for link in t.links]

    def of_session(self, session_id: str) -> Told:
        """What of it is about one of several calls."""

        def about(item: ReceivedSpan | ReceivedLog) -> bool:
            return item.attributes.get(c.SESSION_ID) == session_id

        return Told(list(filter(about, self.spans)), list(filter(about, self.logs)), None)

    def events(self, name: str) -> list[ReceivedLog]:
        return [log for log in self.logs if log.event_name == name]

    def measured(self, name: str, by: str | None = None) -> dict[Value, float]:
        """A metric's sum by an attribute, or under None."""
        found: dict[Value, float] = {}
        for metric in self.metrics or ():
            for point in metric.points if metric.name == name else ():
                key = point.attributes.get(by) if by else None
                found[key] = found.get(key, 0.0) + point.value
        return found

    def counted(self, name: str, by: str | None = None) -> dict[Value, int]:
        """How many measurements a histogram has, by an attribute or under None."""
        found: dict[Value, int] = {}
        for metric in self.metrics or ():
            for point in metric.points if metric.name == name else ():
                key = point.attributes.get(by) if by else None
                found[key] = found.get(key, 0) + point.count
        return found


def told_by(recorder: Recorder) -> Told:
    """What a recorder has."""
    return Told(recorder.spans(), recorder.logs(), recorder.measured())


def words_in(turn: ReceivedSpan) -> str:
    """The user's words of a turn: the last message of its input, where it is theirs."""
    messages = json.loads(str(turn.attributes.get(c.LF_INPUT, "[]")))
    return messages[-1]["content"] if messages and messages[-1]["role"] == "user" else ""


def words_out(turn: ReceivedSpan) -> str:
    """The model's words of a turn."""
    messages = json.loads(str(turn.attributes.get(c.LF_OUTPUT, "[]")))
    said = [message["content"] for message in messages if message["role"] == "assistant" and message["content"]]
    return said[-1] if said else ""


def usage(span: ReceivedSpan, name: str) -> dict[str, int] | None:
    """The buckets of a span that the provider reported; None where it has none."""
    details = json.loads(str(span.attributes.get(name, "{}")))
    found = {key: count for key, count in details.items() if key != "total" and not key.endswith("_estimated")}
    return found or None
