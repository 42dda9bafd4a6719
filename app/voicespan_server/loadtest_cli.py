"""`voicespan loadtest`: paced callers against a server, level by level.

Exit status: 0, 1 where the only level, or the first one, did not hold, 2 where there is no server.
"""

# ruff: noqa: PLC0415 - as in cli.py: heavy imports stay inside the commands

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voicespan_server.call_cli import DEFAULT_URL, ApiKey, VoiceUrl
from voicespan_server.terminal import counted, err, say

if TYPE_CHECKING:
    from voicespan_server.loadtest import Level, Plan, Report, Summary
    from voicespan_server.loadtest.caller import Habits

HEAD = f"{'calls':>6} {'answers':>8} {'errors':>7}   {'connect ms':>15}   {'first audio ms':>15}   {'gaps':>13}"
UNITS = f"{'':>6} {'':>8} {'':>7}   {'p50 / p95':>15}   {'p50 / p95':>15}   {'number / ms':>13}"


def loadtest(  # noqa: PLR0917 - typer calls it by name
    lines: Annotated[
        list[Path] | None,
        typer.Argument(help="WAV files to say, in turn: 16 kHz, 16 bits, mono; the demo's first two by default."),
    ] = None,
    url: VoiceUrl = DEFAULT_URL,
    calls: Annotated[int, typer.Option(min=1, help="Calls at once.")] = 10,
    to: Annotated[int | None, typer.Option(min=1, help="Go on to this many, to find the knee.")] = None,
    step: Annotated[int | None, typer.Option(min=1, help="By so many; as many as --calls by default.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="How long each level is measured.")] = 30,
    settle_s: Annotated[float, typer.Option(min=0.1, help="How long callers of a level take to join.")] = 3,
    turns: Annotated[int, typer.Option(min=1, help="Questions in a call.")] = 2,
    slower_ms: Annotated[
        float, typer.Option(min=0, help="How much later first audio (p95) may be than at the first level.")
    ] = 250,
    answer_s: Annotated[float, typer.Option(min=1, help="How long an answer may take, in seconds.")] = 30,
    api_key: ApiKey = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON; progress goes to stderr.")] = False,
) -> None:
    """Load a server with paced callers.

    Level by level: latencies as a caller has them, gaps in the audio, errors by code, and how many calls it carries.
    """
    import asyncio
    from dataclasses import asdict

    from voicespan_server.client import CallError
    from voicespan_server.loadtest import Plan

    habits = _habits(url, lines or [], turns, answer_s, api_key)
    if to is not None and to < calls:
        raise typer.BadParameter(f"{to} is below --calls, {calls}", param_hint="--to")
    levels = list(range(calls, max(calls, to or calls) + 1, step or calls))
    try:
        report = asyncio.run(_measure(Plan(levels, seconds, settle_s, slower_ms), habits, to_stderr=as_json))
    except (OSError, TimeoutError) as error:
        raise CallError(f"{url}: {str(error) or 'no answer in time'}") from error
    if as_json:
        print(json.dumps({**asdict(report), "knee": report.knee}))
    else:
        say(_verdict(report))
    raise typer.Exit(0 if report.knee is not None else 1)


def _habits(url: str, lines: list[Path], turns: int, answer_s: float, api_key: str | None) -> Habits:
    import asyncio
    from importlib.resources import files

    from voicespan_server.client import read_wav
    from voicespan_server.loadtest.caller import Habits
    from voicespan_server.remote import RestClient

    if not lines:
        folder = Path(str(files("voicespan_server") / "demo_audio"))
        lines = [folder / "01-navigate.wav", folder / "02-search.wav"]
    rest = RestClient(url, api_key)

    async def token() -> str | None:
        return await asyncio.to_thread(rest.session_token) if api_key else None

    return Habits(url, [read_wav(path) for path in lines], turns, answer_s, token)


async def _measure(plan: Plan, habits: Habits, *, to_stderr: bool) -> Report:
    from rich.status import Status

    from voicespan_server.client import call
    from voicespan_server.loadtest import run

    async with call(habits.url, token=await habits.token()) as first:
        await first.hang_up()  # where there is no server, or none for us, that is told now and once

    def print_line(line: str) -> None:
        if to_stderr:
            err().print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            say(line)

    print_line(HEAD)
    print_line(UNITS)
    status = Status("callers join", console=err())

    def lives(callers: int, calls: int) -> None:
        status.update(f"{callers} callers, {calls} calls")

    with status:
        return await run(plan, habits, lambda level: print_line(_row(level)), lives)


def _row(level: Level) -> str:
    row = (
        f"{level.calls:>6} {level.answers:>8} {sum(level.errors.values()):>7}   {_pair(level.connect_ms):>15}"
        f"   {_pair(level.first_audio_ms):>15}   {f'{level.gaps} / {level.gap_ms:.0f}':>13}"
    )
    return f"{row}   {'; '.join(level.faults)}".rstrip()


def _pair(times: Summary | None) -> str:
    return "-" if times is None else f"{times.p50:.0f} / {times.p95:.0f}"


def _verdict(report: Report) -> str:
    last = report.levels[-1]
    told = ", ".join(f"{count} {code}" for code, count in sorted(last.errors.items()))
    errors = f" (errors: {told})" if told else ""
    if report.knee is None:
        return f"{counted(report.levels[0].calls, 'call')} did not hold: {'; '.join(last.faults)}{errors}"
    if last.faults:
        return f"knee: {counted(report.knee, 'call')} held, {last.calls} did not: {'; '.join(last.faults)}{errors}"
    return f"{counted(report.knee, 'call')} held{errors}"
