r"""Span trees as text: what is expected, what there is, and the difference.

A line is a span, two more spaces of indentation a child; spans stand in order of their start.

    Voice Session
      Turn * [voicespan.turn.end_reason=completed gen_ai.response.finish_reasons=["stop"]]
        tool-search_nearby [voicespan.tool.outcome=ok status=UNSET]
      ...

In a name `*` stands for any text. In brackets are attributes that the span must have, by value: JSON, or plain text
without spaces; `*` is any value, `kind` and `status` are the span's own. What is not named is not compared. A line of
`...` stands for any number of further spans.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Protocol

_LINE = re.compile(r"(?P<indent> *)(?P<name>.*?)(?: \[(?P<wanted>\S+=.*)\])?")
_WANTED = re.compile(r'([^\s=]+)=("(?:[^"\\]|\\.)*"|\[[^\]]*\]|\S+)')
_ANY = "*"
_MORE = "..."


class TreeSpan(Protocol):
    """What of a span is compared; `parent_span_id` is empty for a root."""

    @property
    def span_id(self) -> str: ...  # noqa: D102
    @property
    def parent_span_id(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def status(self) -> str: ...  # noqa: D102
    @property
    def start_ns(self) -> int: ...  # noqa: D102
    @property
    def attributes(self) -> Mapping[str, object]: ...  # noqa: D102


@dataclass(slots=True)
class Expected:
    """A line of the expectation and what is indented under it."""

    name: str
    wanted: dict[str, object] = field(default_factory=dict)
    children: list[Expected] = field(default_factory=list)

    @property
    def more(self) -> bool:
        """Whether it stands for any number of spans."""
        return self.name == _MORE

    @property
    def text(self) -> str:
        """As it was written."""
        return self.name + _bracketed(self.wanted)


@dataclass(slots=True)
class Found:
    """A span and those inside it."""

    span: TreeSpan
    children: list[Found] = field(default_factory=list)


def parse(expected: str) -> list[Expected]:
    """The expectation's roots.

    Raises:
        ValueError: a line that is indented by more than one step, or not by a whole one; brackets with something else
            in them than attributes.
    """
    roots: list[Expected] = []
    path: list[Expected] = []
    for line in textwrap.dedent(expected).splitlines():
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.rstrip())
        assert found is not None
        depth, odd = divmod(len(found["indent"]), 2)
        if odd or depth > len(path) or (depth and path[depth - 1].more) or found["name"].startswith("\t"):
            raise ValueError(f"{line.strip()!r} stands under no line: a child is indented by two spaces")
        node = Expected(found["name"], _attributes(found["wanted"] or ""))
        (path[depth - 1].children if depth else roots).append(node)
        path[depth:] = [node]
    return roots


def _attributes(text: str) -> dict[str, object]:
    if rest := _WANTED.sub("", text).strip():
        raise ValueError(
            f"{rest!r} in [{text}] is no NAME=VALUE; a text with spaces or quotes in it is written as JSON"
        )
    return {key: _value(value) for key, value in _WANTED.findall(text)}


def forest(spans: Iterable[TreeSpan]) -> list[Found]:
    """The spans as trees, in order of start; one whose parent is not among them is a root."""
    nodes = {span.span_id: Found(span) for span in sorted(spans, key=lambda s: (s.start_ns, s.span_id))}
    roots: list[Found] = []
    for node in nodes.values():
        parent = nodes.get(node.span.parent_span_id)
        (parent.children if parent else roots).append(node)
    return roots


def render(spans: Iterable[TreeSpan], attributes: Sequence[str] = ()) -> str:
    """The spans as such a text, with these of their attributes."""
    return "\n".join(_rendered(forest(spans), attributes, 0))


def difference(expected: str, spans: Iterable[TreeSpan]) -> str:
    """Empty where the spans are as expected; else both trees in one: `-` is missing, `+` is there, `!` differs."""
    lines = _compare(parse(expected), forest(spans), 0)
    return "\n".join(lines) if any(line[0] in "-+!" for line in lines) else ""


def _rendered(nodes: Sequence[Found], attributes: Sequence[str], depth: int) -> list[str]:
    lines: list[str] = []
    for node in nodes:
        shown = {key: value for key in attributes if (value := _of(node.span, key)) is not None}
        lines += ["  " * depth + node.span.name + _bracketed(shown), *_rendered(node.children, attributes, depth + 1)]
    return lines


def _compare(expected: Sequence[Expected], found: Sequence[Found], depth: int) -> list[str]:
    lines: list[str] = []
    for wanted, node in _aligned(expected, found):
        if wanted is None and node is not None:
            lines += [f"+ {line}" for line in _rendered([node], (), depth)]
        elif wanted is not None and node is None:
            if not wanted.more:
                lines += [f"- {line}" for line in _written(wanted, depth)]
        elif wanted is not None and node is not None:
            if wanted.more:
                continue
            indent = "  " * depth
            lines.append(f"  {indent}{node.span.name}")
            lines += [f"! {indent}    {wrong}" for wrong in _wrong(wanted, node.span)]
            lines += _compare(wanted.children, node.children, depth + 1)
    return lines


def _aligned(expected: Sequence[Expected], found: Sequence[Found]) -> list[tuple[Expected | None, Found | None]]:
    """Both sides in order, as many as possible side by side: the longest common subsequence, `...` taking any."""
    rows, columns = len(expected), len(found)
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            skipped = max(best[i + 1][j], best[i][j + 1])
            if expected[i].more:
                best[i][j] = max(skipped, best[i][j + 1])
            elif _named(expected[i], found[j]):
                # Of two ways to pair the same number, the one whose attributes agree.
                score = 1000 - len(_wrong(expected[i], found[j].span))
                best[i][j] = max(skipped, best[i + 1][j + 1] + score)
            else:
                best[i][j] = skipped
    pairs: list[tuple[Expected | None, Found | None]] = []
    i = j = 0
    while i < rows or j < columns:
        if i < rows and expected[i].more:
            if j < columns and best[i][j] == best[i][j + 1]:
                pairs.append((expected[i], found[j]))
                j += 1
            else:
                i += 1
        elif i < rows and j < columns and _named(expected[i], found[j]) and best[i][j] > best[i + 1][j]:
            if best[i][j] > best[i][j + 1]:
                pairs.append((expected[i], found[j]))
                i, j = i + 1, j + 1
            else:
                pairs.append((None, found[j]))
                j += 1
        elif j < columns and (i == rows or best[i][j] == best[i][j + 1]):
            pairs.append((None, found[j]))
            j += 1
        else:
            pairs.append((expected[i], None))
            i += 1
    return pairs


def _named(expected: Expected, found: Found) -> bool:
    # Nothing but `*` is a pattern here.
    return fnmatchcase(found.span.name, re.sub(r"[\[?]", r"[\g<0>]", expected.name))


def _written(expected: Expected, depth: int) -> list[str]:
    lines = ["  " * depth + expected.text]
    for child in expected.children:
        lines += _written(child, depth + 1)
    return lines


def _wrong(expected: Expected, span: TreeSpan) -> list[str]:
    found: list[str] = []
    for key, wanted in expected.wanted.items():
        value = _of(span, key)
        if value is None:
            found.append(f"{key}: expected {_text(wanted)}, is not there")
        elif wanted != _ANY and not _same(wanted, value):
            found.append(f"{key}: expected {_text(wanted)}, is {_text(value)}")
    return found


def _same(wanted: object, value: object) -> bool:
    return wanted == value or (isinstance(value, (tuple, list)) and isinstance(wanted, list) and list(value) == wanted)


def _of(span: TreeSpan, key: str) -> object:
    if key == "kind":
        return span.kind
    return span.status if key == "status" else span.attributes.get(key)


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _as_written(value: object) -> str:
    """As JSON where plain text would be read as something else."""
    text = _text(value)
    plain = isinstance(value, str) and _WANTED.findall(f"_={text}") == [("_", text)] and _value(text) == text
    return text if plain else json.dumps(value, default=str)


def _bracketed(values: Mapping[str, object]) -> str:
    shown = [f"{key}={_as_written(value)}" for key, value in values.items()]
    return f" [{' '.join(shown)}]" if shown else ""
