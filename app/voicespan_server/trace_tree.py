"""A trace as a tree in the terminal: when each span began, how long it took, its tokens and what they cost."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable

from rich.text import Text
from rich.tree import Tree

from voicespan import conventions as c
from voicespan.sdk.reading import StoredSpan
from voicespan_server.terminal import counted

MAX_QUOTE = 90


def build(spans: list[StoredSpan]) -> Tree:
    """The tree of one trace's spans; one whose parent is not there hangs from the top."""
    known = {span.span_id for span in spans}
    children: dict[str, list[StoredSpan]] = defaultdict(list)
    for span in spans:
        children[span.parent_id if span.parent_id in known else ""].append(span)
    began_ns = min((span.start_ns for span in spans), default=0)
    top = Tree(Text(f"trace {spans[0].trace_id}" if spans else "no spans", style="dim"), guide_style="dim")

    def grow(branch: Tree, parent_id: str) -> None:
        for span in children[parent_id]:
            grow(branch.add(_line(span, began_ns)), span.span_id)

    grow(top, "")
    return top


def _line(span: StoredSpan, began_ns: int) -> Text:
    line = Text()
    line.append(span.name, style="bold red" if span.status == "ERROR" else "bold")
    line.append(f"  +{(span.start_ns - began_ns) / 1e9:.2f} s", style="dim")
    line.append(f"  {_duration(span.duration_s)}", style="cyan")
    for fact in _facts(span):
        line.append("  " + fact)
    if span.status == "ERROR":
        line.append(f"  {span.status_message}", style="red")
    if quote := _quote(span):
        line.append("\n" + quote, style="italic dim")
    return line


def _facts(span: StoredSpan) -> list[str]:
    kind = span.attributes.get(c.LF_TYPE)
    if kind == "agent":
        return _session_facts(span)
    if kind == "generation":
        return _generation_facts(span)
    if kind == "tool":
        return _present(span, {c.TOOL_OUTCOME: str})
    if c.CONNECTION_INDEX in span.attributes:
        gap = {c.CONNECTION_GAP: lambda s: f"gap {_duration(_number(s))}"}
        return _present(span, {c.CONNECTION_RESUMED: lambda resumed: "resumed" if resumed else "", **gap})
    return []


def _session_facts(span: StoredSpan) -> list[str]:
    facts = _present(
        span,
        {
            c.SESSION_TURNS: lambda n: counted(n, "turn"),
            c.SESSION_TOOL_CALLS: lambda n: counted(n, "tool"),
            c.SESSION_BARGE_INS: lambda n: counted(n, "barge-in"),
            c.SESSION_STALLS: lambda n: counted(n, "stall") if n else "",
        },
    )
    simulated = " (simulated)" if span.attributes.get(c.BACKEND) == "simulator" else ""
    usage = json.loads(str(span.attributes.get(c.SESSION_USAGE, "{}")))
    if "total" in usage:
        facts.append(f"{usage['total']} tokens")
    facts += _present(
        span,
        {
            c.SESSION_COST: lambda usd: _cost(_number(usd)) + simulated,
            c.SESSION_CLOSE_CODE: lambda code: f"closed {code} by {span.attributes.get(c.SESSION_CLOSE_INITIATOR)}",
        },
    )
    return facts


def _generation_facts(span: StoredSpan) -> list[str]:
    confidence = span.attributes.get(c.TURN_START_CONFIDENCE)
    facts = _present(
        span,
        {
            c.TURN_END_REASON: lambda reason: "" if reason == "completed" else str(reason),
            c.TTFA: lambda s: f"first audio after {_duration(_number(s))} ({confidence})",
            c.LATENCY_ENDPOINTING: lambda s: f"endpointing {_duration(_number(s))}",
            c.TURN_STALL_KIND: str,
            c.HEARD_AUDIO: lambda s: (
                f"heard {_duration(_number(s))} of {_duration(_number(span.attributes[c.OUTPUT_AUDIO]))}"
            ),
            c.INPUT_TOKENS: lambda n: f"{n} → {span.attributes.get(c.OUTPUT_TOKENS)} tokens",
        },
    )
    if span.attributes.get(c.USAGE_SOURCE) == "estimated":
        facts.append(f"{json.loads(str(span.attributes[c.LF_USAGE]))['total']} tokens (estimated)")
    cost = json.loads(str(span.attributes.get(c.LF_COST, "{}")))
    if "total" in cost:
        facts.append(_cost(cost["total"]))
    return facts


def _present(span: StoredSpan, shown: dict[str, Callable[[object], str]]) -> list[str]:
    texts = [show(span.attributes[name]) for name, show in shown.items() if name in span.attributes]
    return [text for text in texts if text]


def _quote(span: StoredSpan) -> str:
    """What was said, where it was captured."""
    if span.attributes.get(c.LF_TYPE) != "generation":
        return ""
    asked = [m["content"] for m in _messages(span, c.LF_INPUT) if m["role"] == "user"][-1:]
    answered = [m["content"] for m in _messages(span, c.LF_OUTPUT) if m["role"] == "assistant" and m["content"]][-1:]
    return " → ".join(f"“{_cut(text)}”" for text in (*asked, *answered))


def _messages(span: StoredSpan, name: str) -> list[dict[str, str]]:
    return list(json.loads(str(span.attributes.get(name, "[]"))))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_QUOTE else text[: MAX_QUOTE - 1] + "…"


def _cost(usd: float) -> str:
    return f"${usd:.5f}"


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"
