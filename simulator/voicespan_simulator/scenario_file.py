"""Scenarios from their TOML files, checked: the format is described in docs/simulator.md."""

import tomllib
from collections.abc import Collection
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import cast, get_args

from voicespan_simulator.scenario import (
    Answer,
    Cancellation,
    Close,
    Ending,
    FunctionCall,
    GoAway,
    Hold,
    Instead,
    Loss,
    Refusal,
    Resumption,
    Scenario,
    Setup,
    Stop,
    Transcripts,
    Turn,
    UsageReports,
)
from voicespan_simulator.toml_table import ScenarioError, Table
from voicespan_simulator.wire_json import JsonObject

_FOLDER = files("voicespan_simulator") / "scenarios"


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
    top = Table(file.name, "", document)
    turns = tuple(_turn(table, clips) for table in top.tables("turns"))
    if not turns:
        raise ScenarioError(f"{file.name}: turns: at least one is needed")
    scenario = Scenario(
        name=file.name.removesuffix(".toml"),
        description=top.text("description"),
        turns=turns,
        greeting=_answer(top.table("greeting"), clips),
        refusal=_refusal(top.table("refusal")),
        setup=cast("Setup | None", top.choice("setup", get_args(Setup))),
        pongs=top.flag("pongs", default=True),
    )
    top.finish()
    return scenario


def _refusal(table: Table | None) -> Refusal | None:
    if table is None:
        return None
    refusal = Refusal(int(table.number("status")), table.optional_count("retry_after_s"))
    if not 400 <= refusal.status <= 599:
        raise table.error("status", f"an HTTP status of an error is needed, not {refusal.status}")
    table.finish()
    return refusal


def _turn(table: Table, clips: Collection[str]) -> Turn:
    ending = table.table("ending")
    turn = Turn(
        said=table.text("said"),
        answer=_answer(table.table("answer"), clips),
        calls=tuple(_call(call) for call in table.tables("calls")),
        hold=cast("Hold | None", table.choice("hold", get_args(Hold))),
        ending=None if ending is None else _ending(ending),
        typed=table.flag("typed", default=False),
        filler=_answer(table.table("filler"), clips),
        meanwhile=_answer(table.table("meanwhile"), clips),
        instead=cast("Instead | None", table.choice("instead", get_args(Instead))),
        usage=cast("UsageReports | None", table.choice("usage", get_args(UsageReports))),
        transcripts=cast("Transcripts | None", table.choice("transcripts", get_args(Transcripts))),
        complete_reason=table.optional_text("complete_reason"),
        strange=table.flag("strange", default=False),
        interrupted_late=table.flag("interrupted_late", default=False),
        withholds_handle=table.flag("withholds_handle", default=False),
        quiet_tools=table.flag("quiet_tools", default=False),
    )
    if (turn.answer is None) is (turn.instead is None):
        raise table.error("answer", "a table with text is needed, or `instead`, and not both")
    if turn.meanwhile and not turn.calls:
        raise table.error("meanwhile", "it is said while tools run: calls are needed")
    table.finish()
    return turn


def _answer(table: Table | None, clips: Collection[str]) -> Answer | None:
    if table is None:
        return None
    answer = Answer(
        table.text("text"),
        table.optional_text("clip"),
        table.flag("audio", default=True),
        table.optional_number("heard", 1.0),
        table.flag("whole", default=False),
    )
    if not 0 < answer.heard <= 1:
        raise table.error("heard", "a share of the audio is needed, above 0 and at most 1")
    if answer.clip is not None and answer.clip not in clips:
        raise table.error("clip", f"there is no clip {answer.clip!r}, only {', '.join(sorted(clips))}")
    table.finish()
    return answer


def _call(table: Table) -> FunctionCall:
    cancel = cast("Cancellation | None", table.choice("cancel", get_args(Cancellation)))
    unnamed = table.flag("unnamed", default=False)
    call = FunctionCall(table.text("name"), table.json_object("args"), cancel, unnamed)
    table.finish()
    return call


def _ending(table: Table) -> Ending:
    kind = table.choice("kind", ("go_away", "close", "loss", "stop"))
    after = table.optional_count("after_audio_messages")
    in_tools = table.flag("in_tools", default=False)
    resumed = cast("Resumption | None", table.choice("resumed", get_args(Resumption)))
    ending: Ending
    match kind:
        case "go_away":
            ending = GoAway(table.number("time_left_s"), after, in_tools=in_tools, resumed=resumed)
        case "close":
            code = int(table.number("code"))
            if not 1000 <= code <= 4999:
                raise table.error("code", f"a close code is needed, not {code}")
            ending = Close(code, table.text("reason"), after, in_tools, resumed)
        case "loss":
            ending = Loss(after, in_tools, resumed)
        case "stop":
            if after is None or in_tools or resumed:
                raise table.error("after_audio_messages", "what stops stops in mid-answer, and on the same connection")
            ending = Stop(after)
        case _:
            raise table.error("kind", "one of go_away, close, loss, stop is needed")
    if after is not None and in_tools:
        raise table.error("in_tools", "it happens once: either in_tools or after_audio_messages")
    table.finish()
    return ending
