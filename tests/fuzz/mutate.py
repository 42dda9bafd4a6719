"""Mutations of JSON messages and of bytes: what a buggy or malicious peer sends. All chance is one generator's."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

Json = Any

SCALARS: tuple[Json, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**30, 0.5, -0.0, 1e308, 5e-324),
    *("", " ", "\0", "a" * 300, "\ud800", "\u202e", "💥", "NaN", "Infinity", "1", "-1", "true", "null", "../../etc"),
    *("%s%n", "{}", "[]", "<script>", "' OR 1=1 --", "\r\n\r\n", "2026-01-01T00:00:00Z", "5s", "AAAA", "=" * 7, "A==="),
    *([], {}, [[]], [None], {"": None}, {"text": "x"}, [{"text": "x"}]),
)
JUNK = (b"", b"\0", b"\xff\xfe", b"\x80", b"{", b"}", b'"', b"\\u", b"\\", b"e999999999", b"[" * 50, b",", b"NaN")


def mutated(message: Json, rng: random.Random) -> str | bytes:
    """One message, changed in its values, its keys, its shape or its bytes."""
    if rng.random() < 0.7:
        changed = json.loads(json.dumps(message))
        for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
            changed = _restructured(changed, rng)
        text = _written(changed, rng)
        if rng.random() < 0.9:
            return text
    else:
        text = json.dumps(message)
    return _battered(text.encode("utf-8", "surrogatepass"), rng)


def battered(data: bytes, rng: random.Random) -> bytes:
    """Bytes, flipped, cut, repeated and mixed with junk."""
    return _battered(data, rng)


def _written(value: Json, rng: random.Random) -> str:
    try:
        return json.dumps(
            value, ensure_ascii=rng.random() < 0.5, separators=rng.choice((None, (",", ":"), (" , ", " : ")))
        )
    except (RecursionError, ValueError):
        return "[" * 2000


def _places(value: Json, path: tuple[Json, ...] = ()) -> list[tuple[Json, ...]]:
    """The paths to everything inside."""
    found = [path]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += _places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += _places(inner, (*path, index))
    return found


def _restructured(value: Json, rng: random.Random) -> Json:
    path = rng.choice(_places(value))
    if not path:
        return copy.deepcopy(rng.choice(SCALARS)) if rng.random() < 0.2 else value
    parent = value
    for key in path[:-1]:
        parent = parent[key]
    change = rng.choice(_CHANGES)
    change(parent, path[-1], rng)
    return value


def _replace(parent: Json, key: Json, rng: random.Random) -> None:
    parent[key] = copy.deepcopy(rng.choice(SCALARS))


def _remove(parent: Json, key: Json, rng: random.Random) -> None:
    del parent[key]


def _rename(parent: Json, key: Json, rng: random.Random) -> None:
    if isinstance(parent, dict):
        names = (str(key).upper(), str(key) + "_", str(key)[:-1], "type", "__proto__", "")
        parent[rng.choice(names)] = parent.pop(key)


def _nest(parent: Json, key: Json, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 2, 80))):
        parent[key] = rng.choice(([parent[key]], {"a": parent[key]}))


def _multiply(parent: Json, key: Json, rng: random.Random) -> None:
    inner = parent[key]
    if isinstance(inner, str):
        parent[key] = inner * rng.choice((2, 10, 200))
    elif isinstance(inner, list):
        parent[key] = inner * rng.choice((2, 20))
    elif isinstance(inner, int | float):
        parent[key] = inner * rng.choice((-1, 1000, 2**40))


def _add(parent: Json, key: Json, rng: random.Random) -> None:
    if isinstance(parent, dict):
        name = rng.choice(("type", "text", "turn", "extra", "serverContent", "id", "v"))
        parent[name] = copy.deepcopy(rng.choice(SCALARS))
    else:
        parent.insert(0, copy.deepcopy(rng.choice(SCALARS)))


_CHANGES: tuple[Callable[[Json, Json, random.Random], None], ...] = (
    *(_replace, _replace, _replace),
    *(_remove, _rename, _nest, _multiply, _add),
)


def _battered(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        where = rng.randrange(len(changed) + 1)
        match rng.randrange(5):
            case 0 if changed:
                changed[min(where, len(changed) - 1)] ^= 1 << rng.randrange(8)
            case 1:
                del changed[where : where + rng.choice((1, 2, 10, 1000))]
            case 2:
                changed[where:where] = rng.choice(JUNK)
            case 3:
                changed[where:where] = changed[where : where + rng.choice((1, 8, 64))]
            case _:
                changed[where:where] = rng.randbytes(rng.choice((1, 4, 16)))
    return bytes(changed)
