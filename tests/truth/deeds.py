"""The simulator's deeds, read back from its file."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from voicespan_simulator import deeds
from voicespan_simulator.deeds import ConnectionDeed


def read_deeds(file: Path) -> dict[str, list[ConnectionDeed]]:
    """The connections by label, each label's in the order in which they were opened.

    A line that has no end yet is being written: a reader sees a long one grow.
    """
    found: dict[str, list[ConnectionDeed]] = {}
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]
    connections = [_read(ConnectionDeed, json.loads(line)) for line in lines]
    for connection in sorted(connections, key=lambda connection: connection.connection):
        found.setdefault(connection.label, []).append(connection)
    return found


def _read(kind: Any, value: Any) -> Any:
    if isinstance(kind, UnionType):
        kind = next((option for option in get_args(kind) if is_dataclass(option)), None)
    if get_origin(kind) is list:
        return [_read(get_args(kind)[0], item) for item in value]
    if is_dataclass(kind) and isinstance(kind, type) and value is not None:
        hints = get_type_hints(kind, vars(deeds))
        return kind(**{field.name: _read(hints[field.name], value[field.name]) for field in fields(kind)})
    return value
