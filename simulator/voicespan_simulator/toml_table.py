"""A TOML table that knows where it stands, so that what is wrong in it can be named by file and key."""

import json
from collections.abc import Mapping

from voicespan_simulator.wire_json import JsonObject, JsonValue


class ScenarioError(ValueError):
    """A scenario that cannot be played; the message names the file and the key."""


class Table:
    """One table; it also knows which of its keys were asked for."""

    def __init__(self, file: str, path: str, values: Mapping[str, JsonValue]) -> None:
        self._file = file
        self._path = path
        self._values = dict(values)

    def error(self, key: str, problem: str) -> ScenarioError:
        """What is wrong with the value of a key."""
        return ScenarioError(f"{self._file}: {self._path}{key}: {problem}")

    def text(self, key: str) -> str:
        """A text that has to be there."""
        value = self._values.pop(key, None)
        if not isinstance(value, str) or not value:
            raise self.error(key, f"a text is needed, not {value!r}")
        return value

    def optional_text(self, key: str) -> str | None:
        """A text, or None where the key is not there."""
        return self.text(key) if key in self._values else None

    def number(self, key: str) -> float:
        """A number of at least 0 that has to be there."""
        value = self._values.pop(key, None)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise self.error(key, f"a number of at least 0 is needed, not {value!r}")
        return float(value)

    def optional_number(self, key: str, default: float) -> float:
        """A number that may be missing."""
        return self.number(key) if key in self._values else default

    def optional_count(self, key: str) -> int | None:
        """A whole number of at least 1, or None where the key is not there."""
        if key not in self._values:
            return None
        number = self.number(key)
        if number < 1 or number != int(number):
            raise self.error(key, f"a whole number of at least 1 is needed, not {number:g}")
        return int(number)

    def choice(self, key: str, choices: tuple[str, ...]) -> str | None:
        """One of the choices, or None where the key is not there."""
        value = self.optional_text(key)
        if value is not None and value not in choices:
            raise self.error(key, f"one of {', '.join(choices)} is needed, not {value!r}")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """A truth value."""
        value = self._values.pop(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"true or false is needed, not {value!r}")
        return value

    def json_object(self, key: str) -> JsonObject:
        """A table of plain JSON values, empty where the key is not there."""
        value = self._values.pop(key, {})
        if not isinstance(value, dict):
            raise self.error(key, f"a table is needed, not {value!r}")
        try:
            json.dumps(value)
        except TypeError as error:
            raise self.error(key, f"not JSON: {error}") from error
        return value

    def table(self, key: str) -> "Table | None":
        """A table, or None where the key is not there."""
        return Table(self._file, f"{self._path}{key}.", self.json_object(key)) if key in self._values else None

    def tables(self, key: str) -> list["Table"]:
        """An array of tables, empty where the key is not there."""
        value = self._values.pop(key, [])
        if not isinstance(value, list):
            raise self.error(key, f"an array of tables is needed, not {value!r}")
        tables: list[Table] = []
        for number, item in enumerate(value):
            if not isinstance(item, dict):
                raise self.error(f"{key}[{number}]", f"a table is needed, not {item!r}")
            tables.append(Table(self._file, f"{self._path}{key}[{number}].", item))
        return tables

    def finish(self) -> None:
        """Every key was asked for, or this raises."""
        for key in self._values:
            raise self.error(key, "unknown key")
