"""What the terminal shows of a trace."""

import io

from rich.console import Console

from support.stores import stored
from support.telling import tell
from voicespan.sdk.reading import StoredSpan
from voicespan_server import trace_tree

CALL = "ON MIC VAS I VAE CALL1 RESP1 a A T A GC U TC I VAE A GC VAS INT U TC GA CUT ON cc A GC CUT BYE"


def shown(story: str) -> str:
    printed = io.StringIO()
    spans = sorted((stored(span) for span in tell(story)), key=lambda span: span.start_ns)
    Console(file=printed, width=200).print(trace_tree.build(spans))
    return printed.getvalue()


def test_each_span_has_its_facts() -> None:
    lines = shown(CALL).splitlines()

    def line(name: str) -> str:
        return next(text for text in lines if name in text)

    assert "3 turns  1 tool  1 barge-in" in line("WebSocket Session")
    assert "(simulated)" in line("WebSocket Session")
    assert "closed 1000 by client" in line("WebSocket Session")
    assert "gap" in line("Live Connection 2")
    assert "first audio after" in line("Turn 1")
    assert "120 → 30 tokens" in line("Turn 1")
    assert "interrupted" in line("Turn 2")
    assert "tokens (estimated)" in line("Turn 3")
    assert line("tool-search_nearby").rstrip().endswith("ok")
    assert any("“spoken” → “answer”" in text for text in lines)


def test_a_span_whose_parent_is_not_there_is_still_shown() -> None:
    orphan = StoredSpan("a" * 32, "b" * 16, "c" * 16, "orphan", "INTERNAL", 1, 2, "ERROR", "it broke")
    printed = io.StringIO()
    Console(file=printed, width=120).print(trace_tree.build([orphan]))
    assert "orphan" in printed.getvalue()
    assert "it broke" in printed.getvalue()


def test_nothing_is_shown_of_nothing() -> None:
    printed = io.StringIO()
    Console(file=printed).print(trace_tree.build([]))
    assert "no spans" in printed.getvalue()
