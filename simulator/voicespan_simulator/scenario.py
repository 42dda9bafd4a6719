"""Scenarios: who says what and what goes wrong, as TOML. The format is described in docs/simulator.md."""

import json
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Literal, cast

from voicespan_simulator.wire_json import JsonObject, JsonValue

_FOLDER = files("voicespan_simulator") / "scenarios"


class ScenarioError(ValueError):
    """A scenario that cannot be played; the message names the file and the key."""


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A function that the model calls."""

    name: str
    args: JsonObject


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says; without a clip the voice is a generic one of fitting length."""

    text: str
    clip: str | None = None


@dataclass(frozen=True, slots=True)
class GoAway:
    """The service announces the end and closes: after the turn, or in mid-answer after so many audio messages."""

    time_left_s: float
    after_audio_messages: int | None = None
    code: int = 1011
    reason: str = "Deadline expired before operation could complete."


@dataclass(frozen=True, slots=True)
class Close:
    """The service closes without a word."""

    code: int
    reason: str
    after_audio_messages: int | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """The TCP connection is gone, without a close frame."""

    after_audio_messages: int | None = None


Ending = GoAway | Close | Loss
Hold = Literal["generation", "playback"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange. `hold` is where an answer waits at fast pace for the user to interrupt it, else nobody could."""

    said: str
    answer: Answer
    calls: tuple[FunctionCall, ...] = ()
    hold: Hold | None = None
    ending: Ending | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """The turns of a call; each utterance of the user takes the next."""

    name: str
    description: str
    turns: tuple[Turn, ...]

    def turn(self, index: int) -> Turn:
        """The turn at an index; behind the end the last one again, without what ended the connection."""
        if index < len(self.turns):
            return self.turns[index]
        last = self.turns[-1]
        return Turn(last.said, last.answer, last.calls)


def scenario_names() -> list[str]:
    """The scenarios that come with the package."""
    return sorted(item.name.removesuffix(".toml") for item in _FOLDER.iterdir() if item.name.endswith(".toml"))


def load_scenarios(clips: Collection[str]) -> dict[str, Scenario]:
    """All scenarios of the package by name, checked against the clips there are."""
    return {name: read_scenario(_FOLDER / f"{name}.toml", clips) for name in scenario_names()}


def read_scenario(file: Traversable, clips: Collection[str]) -> Scenario:
    """Reads and checks one file."""
    try:
        document = cast("JsonObject", tomllib.loads(file.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{file.name}: not TOML: {error}") from error
    top = _Table(file.name, "", document)
    turns = tuple(_turn(table, clips) for table in top.tables("turns"))
    if not turns:
        raise ScenarioError(f"{file.name}: turns: at least one is needed")
    scenario = Scenario(file.name.removesuffix(".toml"), top.text("description"), turns)
    top.finish()
    return scenario


class _Table:
    """A TOML table that knows where it stands and which of its keys were asked for."""

    def __init__(self, file: str, path: str, values: Mapping[str, JsonValue]) -> None:
        self._file = file
        self._path = path
        self._values = dict(values)

    def error(self, key: str, problem: str) -> ScenarioError:
        return ScenarioError(f"{self._file}: {self._path}{key}: {problem}")

    def text(self, key: str) -> str:
        value = self._values.pop(key, None)
        if not isinstance(value, str) or not value:
            raise self.error(key, f"a text is needed, not {value!r}")
        return value

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if key in self._values else None

    def number(self, key: str) -> float:
        value = self._values.pop(key, None)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise self.error(key, f"a number of at least 0 is needed, not {value!r}")
        return float(value)

    def optional_count(self, key: str) -> int | None:
        if key not in self._values:
            return None
        number = self.number(key)
        if number < 1 or number != int(number):
            raise self.error(key, f"a whole number of at least 1 is needed, not {number:g}")
        return int(number)

    def choice(self, key: str, choices: tuple[str, ...]) -> str | None:
        value = self.optional_text(key)
        if value is not None and value not in choices:
            raise self.error(key, f"one of {', '.join(choices)} is needed, not {value!r}")
        return value

    def json_object(self, key: str) -> JsonObject:
        value = self._values.pop(key, {})
        if not isinstance(value, dict):
            raise self.error(key, f"a table is needed, not {value!r}")
        try:
            json.dumps(value)
        except TypeError as error:
            raise self.error(key, f"not JSON: {error}") from error
        return value

    def table(self, key: str) -> "_Table | None":
        return _Table(self._file, f"{self._path}{key}.", self.json_object(key)) if key in self._values else None

    def tables(self, key: str) -> list["_Table"]:
        value = self._values.pop(key, [])
        if not isinstance(value, list):
            raise self.error(key, f"an array of tables is needed, not {value!r}")
        tables: list[_Table] = []
        for number, item in enumerate(value):
            if not isinstance(item, dict):
                raise self.error(f"{key}[{number}]", f"a table is needed, not {item!r}")
            tables.append(_Table(self._file, f"{self._path}{key}[{number}].", item))
        return tables

    def finish(self) -> None:
        """Every key was asked for, or this raises."""
        for key in self._values:
            raise self.error(key, "unknown key")


def _turn(table: _Table, clips: Collection[str]) -> Turn:
    answer = table.table("answer")
    if answer is None:
        raise table.error("answer", "a table with text is needed")
    ending = table.table("ending")
    turn = Turn(
        said=table.text("said"),
        answer=_answer(answer, clips),
        calls=tuple(_call(call) for call in table.tables("calls")),
        hold=cast("Hold | None", table.choice("hold", ("generation", "playback"))),
        ending=None if ending is None else _ending(ending),
    )
    table.finish()
    return turn


def _answer(table: _Table, clips: Collection[str]) -> Answer:
    answer = Answer(table.text("text"), table.optional_text("clip"))
    if answer.clip is not None and answer.clip not in clips:
        raise table.error("clip", f"there is no clip {answer.clip!r}, only {', '.join(sorted(clips))}")
    table.finish()
    return answer


def _call(table: _Table) -> FunctionCall:
    call = FunctionCall(table.text("name"), table.json_object("args"))
    table.finish()
    return call


def _ending(table: _Table) -> Ending:
    kind = table.choice("kind", ("go_away", "close", "loss"))
    after = table.optional_count("after_audio_messages")
    ending: Ending
    match kind:
        case "go_away":
            ending = GoAway(table.number("time_left_s"), after)
        case "close":
            code = int(table.number("code"))
            if not 1000 <= code <= 4999:
                raise table.error("code", f"a close code is needed, not {code}")
            ending = Close(code, table.text("reason"), after)
        case "loss":
            ending = Loss(after)
        case _:
            raise table.error("kind", "one of go_away, close, loss is needed")
    table.finish()
    return ending
