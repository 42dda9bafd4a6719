"""`voicespan store`: what is in the local store, what was refused, and what to do about it.

Exit status: 0, `status` 1 where records were refused, 2 where there is no store or it cannot be used.
"""

# ruff: noqa: PLC0415 - as in cli.py: heavy imports stay inside the commands

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from voicespan_server.terminal import counted, say
from voicespan_server.traces_cli import AsJson, local_time, store_path

if TYPE_CHECKING:
    from voicespan.sdk.signals import Signal

store = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The local store: what waits to be sent, and what was refused.",
)


@store.command()
def status(as_json: AsJson = False) -> None:
    """Say what the store holds. Exit status 1 where something was refused."""
    from voicespan.sdk import maintenance

    found = maintenance.status(store_path())
    if as_json:
        print(json.dumps(asdict(found)))
    else:
        processes = "1 process" if found.processes == 1 else f"{found.processes} processes"
        say(f"{found.path}: {_size(found.size_bytes)}, open in {processes}")
        say(f"{counted(found.open_sessions, 'session')} going on, or left behind by a process that died")
        for signal in found.signals:
            age = signal.oldest_queued_age_s
            since = "" if age is None else f", the oldest for {age:.0f} s"
            waiting = f"{signal.queued:6} wait to be sent{since}"
            say(f"{signal.signal:<7} {signal.records:8} records  {waiting}  {signal.rejected} refused")
        if found.rejected:
            say("why: voicespan store rejected; send again: voicespan store replay")
    raise typer.Exit(1 if found.rejected else 0)


@store.command()
def rejected(as_json: AsJson = False) -> None:
    """List what receivers refused, and their reasons."""
    from voicespan.sdk import maintenance

    found = maintenance.rejections(store_path())
    if as_json:
        print(json.dumps([asdict(rejection) for rejection in found]))
        return
    for rejection in found:
        first, last = (local_time(at_s * 10**9) for at_s in (rejection.oldest_s, rejection.newest_s))
        say(f"{rejection.records:6} {rejection.signal}  {first} to {last}  {rejection.reason}")
    if not found:
        say("nothing was refused")


@store.command()
def replay(
    signal: Annotated[str | None, typer.Option(help="traces, logs, scores or media; all by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send again what was refused.

    A running server takes it within seconds, else the next one that starts.
    """
    from voicespan.sdk import maintenance

    count = maintenance.replay(store_path(), _signal(signal))
    if as_json:
        print(json.dumps({"queued": count}))
    else:
        say(f"queued again: {counted(count, 'record')}")


@store.command()
def prune(
    max_mb: Annotated[int | None, typer.Option(min=0, help="Delete the oldest beyond this size.")] = None,
    max_days: Annotated[float | None, typer.Option(min=0, help="Delete what is older.")] = None,
    rejected: Annotated[bool, typer.Option("--rejected", help="Forget that anything was refused.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete the oldest records and give the space back. What still has to be sent stays."""
    from voicespan.sdk import maintenance

    found = maintenance.prune(
        store_path(),
        None if max_mb is None else max_mb << 20,
        None if max_days is None else max_days * 86_400,
        forget_rejections=rejected,
    )
    if as_json:
        print(json.dumps(asdict(found)))
        return
    sizes = f"{_size(found.size_before_bytes)} -> {_size(found.size_after_bytes)}"
    say(f"{counted(found.records, 'record')} deleted: {sizes}")
    if found.forgotten_rejections:
        say(f"{found.forgotten_rejections} refusals forgotten")
    if found.waiting:
        say(f"{found.waiting} more stay, for they are not sent yet or were refused (--rejected forgets those)")


def _signal(name: str | None) -> Signal | None:
    from voicespan.sdk.signals import Signal

    if name is None:
        return None
    try:
        return Signal(name)
    except ValueError:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(Signal)}", param_hint="--signal") from None


def _size(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):.1f} MB"
