"""`voicespan traces`: what the local store has of calls."""

# ruff: noqa: PLC0415 - as in cli.py: heavy imports stay inside the commands

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from voicespan_server.terminal import complain, counted, out, say

traces = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Traces in the local store.")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@traces.command("list")
def list_traces(
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the latest traces."""
    from voicespan.sdk.reading import reader

    with reader(store_path()) as stored:
        found = stored.latest(limit)
    if as_json:
        print(json.dumps([asdict(summary) for summary in found]))
        return
    for summary in found:
        seconds = (summary.end_ns - summary.start_ns) / 1e9
        counts = f"{counted(summary.turns, 'turn'):>9}  {counted(summary.spans, 'span'):>10}"
        say(f"{summary.trace_id}  {local_time(summary.start_ns)}  {seconds:7.2f} s  {counts}  {summary.name}")


@traces.command("show")
def show_trace(
    trace: Annotated[str, typer.Argument(help="A trace's or session's id, or the beginning of one.")],
    as_json: AsJson = False,
) -> None:
    """Show one trace as a tree."""
    from voicespan.sdk.reading import reader
    from voicespan_server import trace_tree

    with reader(store_path()) as stored:
        found = stored.find(trace)
        if len(found) != 1:
            what = "no trace" if not found else f"{len(found)} traces"
            complain(f"{what} with an id that begins with {trace!r}: see `voicespan traces list`")
            raise typer.Exit(2)
        spans = stored.spans(found[0])
    if as_json:
        print(json.dumps([asdict(span) for span in spans]))
    else:
        out().print(trace_tree.build(spans))


def store_path() -> Path:
    """Where the settings say that the store is."""
    from voicespan_server.settings import load_settings

    return load_settings().store_path


def local_time(at_ns: int) -> str:
    """A time as people here read it."""
    from datetime import datetime

    return datetime.fromtimestamp(at_ns / 1e9).astimezone().strftime("%Y-%m-%d %H:%M:%S")
