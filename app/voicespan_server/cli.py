"""`voicespan`: serve, demo, call, traces. Heavy imports stay inside the commands, so that --help is instant."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from voicespan_server import store_cli

if TYPE_CHECKING:
    from voicespan_server.settings import Settings

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Voice AI with its traces."
)
traces = typer.Typer(no_args_is_help=True, help="Traces in the local store.")
app.add_typer(traces, name="traces")

# Where nobody's terminal sets a width, a trace's lines should not be folded at 80 columns.
WIDTH = None if sys.stdout.isatty() else 140
out = Console(width=WIDTH)
err = Console(stderr=True, width=WIDTH)

APPLICATION = "voicespan_server.app:create_app"

Host = Annotated[str | None, typer.Option(help="Address to listen on (VOICESPAN_HOST; 127.0.0.1).")]
Port = Annotated[int | None, typer.Option(help="Port to listen on (VOICESPAN_PORT; 8000). 0 picks a free one.")]


def main() -> None:
    """The entry point: what a user can get wrong ends in one line and exit status 2."""
    try:
        from voicespan_server.settings import read_dotenv

        read_dotenv()
        app()
    except Exception as error:
        if not isinstance(error, _usage_errors()):
            raise
        err.print(f"voicespan: {error}", style="red", highlight=False)
        sys.exit(2)


def _usage_errors() -> tuple[type[Exception], ...]:
    from voicespan.sdk.database import StoreError
    from voicespan.sdk.endpoint import EndpointError
    from voicespan_server.client import CallError
    from voicespan_server.settings import SettingsError
    from voicespan_simulator.process import SimulatorStartError

    return (SettingsError, EndpointError, StoreError, SimulatorStartError, CallError, FileNotFoundError)


@app.command()
def serve(
    host: Host = None,
    port: Port = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the port.")] = 1,
) -> None:
    """Serve the voice socket and the REST API. Without GEMINI_API_KEY a simulator answers."""
    import uvicorn

    from voicespan.sdk.endpoint import endpoint_from_environment
    from voicespan_server import workers as worker_processes

    endpoint = endpoint_from_environment()  # a fault is told once here, not by every worker
    with _settled(host, port) as settings:
        out.print(
            f"Voicespan on http://{settings.host}:{settings.port}: {settings.model} by {settings.chosen_backend}; "
            f"OTLP to {endpoint.url if endpoint else 'nowhere'}, "
            f"traces in {settings.store_path if settings.store == 'on' else 'memory'}",
            highlight=False,
            soft_wrap=True,
        )
        options = _uvicorn_options(settings)
        if workers > 1:
            worker_processes.serve(uvicorn.Config(APPLICATION, factory=True, workers=workers, **options))
        else:
            uvicorn.run(APPLICATION, factory=True, **options)


@app.command()
def demo(
    host: Host = None,
    port: Port = None,
    once: Annotated[bool, typer.Option(help="End after the call instead of serving on.")] = False,
) -> None:
    """Serve, place one spoken call, and print its trace."""
    import uvicorn

    from voicespan.content import CAPTURE_VARIABLE
    from voicespan_server.app import create_app
    from voicespan_server.demo import run

    if not os.environ.get(CAPTURE_VARIABLE):
        os.environ[CAPTURE_VARIABLE] = "SPAN_AND_EVENT"
        out.print(f"The demo records what is said: {CAPTURE_VARIABLE}=SPAN_AND_EVENT. Off by default.", style="dim")
    with _settled(host, port) as settings:
        application = create_app(settings)
        server = uvicorn.Server(uvicorn.Config(application, **_uvicorn_options(settings)))
        succeeded = asyncio.run(run(application.state.server, server, out, once=once))
    if not succeeded:
        raise typer.Exit(1)


@app.command()
def call(
    lines: Annotated[list[Path], typer.Argument(help="WAV files to speak, in turn: 16 kHz, 16 bits, mono.")],
    url: Annotated[str, typer.Option(help="The server's voice socket.")] = "ws://127.0.0.1:8000/ws/voice",
) -> None:
    """Call a running server, speak, and print what is said and the trace's id."""
    from voicespan_server import client as voice_client
    from voicespan_server.narrator import Narrator
    from voicespan_server.server_messages import TurnCompleted

    async def place() -> str:
        spoken = [voice_client.read_wav(path) for path in lines]
        async with voice_client.call(url) as running:
            running.listener = Narrator(out)
            for number, pcm in enumerate(spoken, 1):
                await running.say(pcm)
                await running.wait_for(lambda c, n=number: len(c.of(TurnCompleted)) >= n)  # type: ignore[misc]
            await running.hang_up()
            return running.trace_id

    try:
        trace_id = asyncio.run(place())
    except (OSError, TimeoutError) as error:
        from voicespan_server.client import CallError

        raise CallError(f"{url}: {str(error) or 'no answer in time'}") from error
    out.print(f"trace {trace_id}", highlight=False)


@app.command("verify-live")
def verify_live(
    otlp_endpoint: Annotated[str | None, typer.Option(help="A collector that runs already, OTLP over HTTP.")] = None,
    deadline_s: Annotated[float, typer.Option(min=1, help="How long Langfuse may take to show what it took.")] = 120,
) -> None:
    """Place one call with real keys and compare what Langfuse has of it, field by field."""
    from voicespan_server import verify
    from voicespan_server.settings import load_settings

    if needed := verify.missing(load_settings()):
        err.print("\n".join(["verify-live needs:", *needed]), style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(2)
    with _settled("127.0.0.1", 0) as settings:
        options = _uvicorn_options(settings)
        raise typer.Exit(verify.run(settings, out, options, otlp_endpoint=otlp_endpoint, deadline_s=deadline_s))


@traces.command("list")
def list_traces(
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the latest traces."""
    from voicespan.sdk.reading import reader

    with reader(_store_path()) as stored:
        found = stored.latest(limit)
    if as_json:
        print(json.dumps([asdict(summary) for summary in found]))
        return
    for summary in found:
        began = _local_time(summary.start_ns)
        seconds = (summary.end_ns - summary.start_ns) / 1e9
        counts = f"{summary.turns:3} turns  {summary.spans:4} spans"
        line = f"{summary.trace_id}  {began}  {seconds:7.2f} s  {counts}  {summary.name}"
        out.print(line, highlight=False, soft_wrap=True)


@traces.command("show")
def show_trace(
    trace: Annotated[str, typer.Argument(help="A trace's or session's id, or the beginning of one.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show one trace as a tree."""
    from voicespan.sdk.reading import reader
    from voicespan_server import trace_tree

    with reader(_store_path()) as stored:
        found = stored.find(trace)
        if len(found) != 1:
            what = "no trace" if not found else f"{len(found)} traces"
            err.print(
                f"voicespan: {what} with an id that begins with {trace!r}: see `voicespan traces list`", style="red"
            )
            raise typer.Exit(2)
        spans = stored.spans(found[0])
    if as_json:
        print(json.dumps([asdict(span) for span in spans]))
    else:
        out.print(trace_tree.build(spans))


@contextmanager
def _settled(host: str | None, port: int | None) -> Iterator[Settings]:
    """The settings, with a simulator running where it is the backend and nobody says where one is."""
    from voicespan_server.settings import load_settings
    from voicespan_simulator.process import SimulatorProcess

    overrides = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = load_settings(**overrides)
    _check_free(settings.host, settings.port)
    if settings.chosen_backend != "simulator" or settings.simulator_url:
        yield settings
        return
    with SimulatorProcess(settings.simulator_scenario) as simulator:
        # By the environment, so that worker processes find it too.
        os.environ["VOICESPAN_SIMULATOR_URL"] = simulator.base_url
        os.environ["VOICESPAN_SIMULATOR_CA_FILE"] = str(simulator.ca_file)
        yield load_settings(**overrides)


def _check_free(host: str, port: int) -> None:
    """Say that a port is taken before anything is started on it."""
    import socket

    from voicespan_server.settings import SettingsError

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host} port {port} ({error.strerror or error}): choose others by --host and --port, "
            "or VOICESPAN_HOST and VOICESPAN_PORT; port 0 picks a free one"
        ) from error


def _uvicorn_options(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": settings.port,
        "log_level": "warning",
        "ws": "websockets-sansio",
        # Deflate costs 40 us a frame and takes 7 % off speech.
        "ws_per_message_deflate": False,
        "ws_max_size": 1 << 18,
        "timeout_graceful_shutdown": 5,
    }


def _store_path() -> Path:
    from voicespan_server.settings import load_settings

    return load_settings().store_path


def _local_time(at_ns: int) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(at_ns / 1e9).astimezone().strftime("%Y-%m-%d %H:%M:%S")


app.add_typer(store_cli.commands(out, _store_path, _local_time), name="store")


if __name__ == "__main__":
    main()
