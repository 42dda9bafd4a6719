"""`voicespan`: serve, demo, call, traces. Heavy imports stay inside the commands, so that --help is instant."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voicespan_server.call_cli import call
from voicespan_server.doctor_cli import doctor
from voicespan_server.loadtest_cli import loadtest
from voicespan_server.store_cli import store
from voicespan_server.terminal import WIDTH, complain, err, out, write_no_more
from voicespan_server.traces_cli import traces

if TYPE_CHECKING:
    from voicespan_server.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # boxes would double the time of --help
    help="Voice AI with its traces: a server for Gemini Live, and what it takes to run it.",
    epilog="Settings are environment variables or a file .env: docs/settings.md. Exit status: 0, 1 where what was "
    "asked for went wrong, 2 where it cannot be done as asked.",
)

APPLICATION = "voicespan_server.loading:create_app"

Host = Annotated[str | None, typer.Option(help="Address to listen on (VOICESPAN_HOST; 127.0.0.1).")]
Port = Annotated[int | None, typer.Option(help="Port to listen on (VOICESPAN_PORT; 8000). 0 picks a free one.")]


def main() -> None:
    """The entry point: what a user can get wrong ends in one line and exit status 2."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        write_no_more()
        sys.exit(1)  # as typer does where it is the one to meet it: who reads has seen enough
    except Exception as error:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            write_no_more()
        elif not isinstance(error, _usage_errors()):
            raise
        complain(error)
        sys.exit(2)


def _show_version(wanted: bool) -> None:
    if wanted:
        from voicespan_server import __version__

        print(f"voicespan {__version__}")
        raise typer.Exit


@app.callback()
def prepare(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Before every command, but not before --help."""
    from voicespan_server.environment import read_environment

    read_environment()


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
    import importlib
    import threading

    from voicespan_server import interpreter

    _take_descriptors()
    if workers == 1:
        interpreter.begin()

    import uvicorn
    from uvicorn.config import STARTUP_FAILURE

    from voicespan.redaction import without_password
    from voicespan.sdk.endpoint import endpoint_from_environment
    from voicespan_server.authorities import authorities

    if workers == 1:
        # While the simulator starts.
        threading.Thread(target=importlib.import_module, args=(APPLICATION.partition(":")[0],), daemon=True).start()
    endpoint = endpoint_from_environment()  # a fault is told once here, not by every worker
    with _settled(host, port) as settings:
        if settings.chosen_backend == "gemini":
            authorities()  # beside the import, which goes on meanwhile
        typer.echo(  # a server has no need of rich
            f"Voicespan on {settings.address}: {settings.model} by {settings.chosen_backend}; "
            f"OTLP to {without_password(endpoint.url) if endpoint else 'nowhere'}, "
            f"traces in {settings.store_path if settings.store == 'on' else 'memory'}"
        )
        options = _uvicorn_options(settings)
        if workers > 1:
            from voicespan_server import workers as worker_processes

            worker_processes.serve(uvicorn.Config(APPLICATION, factory=True, workers=workers, **options))
        else:
            config = uvicorn.Config(APPLICATION, factory=True, **options)
            server = uvicorn.Server(config)
            with suppress(KeyboardInterrupt):  # uvicorn raises it once more at its end
                # As with workers: `::` is all addresses, those of IPv4 too, which asyncio would leave out.
                server.run([config.bind_socket()] if ":" in settings.host else None)
            if not server.started:
                raise typer.Exit(STARTUP_FAILURE)


@app.command()
def demo(
    host: Host = None,
    port: Port = None,
    once: Annotated[bool, typer.Option(help="End after the call instead of serving on.")] = False,
) -> None:
    """Serve, place one spoken call, and print its trace."""
    import asyncio

    from voicespan_server import interpreter

    interpreter.begin()

    import uvicorn

    from voicespan.content import CAPTURE_VARIABLE
    from voicespan_server.demo import DemoConsole, run
    from voicespan_server.loading import create_app

    console = DemoConsole(width=WIDTH)
    if not os.environ.get(CAPTURE_VARIABLE):
        os.environ[CAPTURE_VARIABLE] = "SPAN_AND_EVENT"
        console.print(f"The demo records what is said: {CAPTURE_VARIABLE}=SPAN_AND_EVENT. Off by default.", style="dim")
    with _settled(host, port) as settings:
        application = create_app(settings)
        config = uvicorn.Config(application, **_uvicorn_options(settings))
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            succeeded = runner.run(run(application.state.server, uvicorn.Server(config), console, once=once))
    if not succeeded:
        raise typer.Exit(1)


app.command()(call)
app.command()(doctor)
app.command()(loadtest)
app.add_typer(traces, name="traces")
app.add_typer(store, name="store")


@app.command("verify-live")
def verify_live(
    otlp_endpoint: Annotated[str | None, typer.Option(help="A collector that runs already, OTLP over HTTP.")] = None,
    deadline_s: Annotated[float, typer.Option(min=1, help="How long Langfuse may take to show what it took.")] = 120,
) -> None:
    """Place one call with real keys and verify it.

    Compares what Langfuse has of it, field by field.
    """
    from voicespan_server import verify
    from voicespan_server.settings import load_settings

    if needed := verify.missing(load_settings()):
        err().print("\n".join(["verify-live needs:", *needed]), style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(2)
    with _settled("127.0.0.1", 0) as settings:
        options = _uvicorn_options(settings)
        raise typer.Exit(verify.run(settings, out(), options, otlp_endpoint=otlp_endpoint, deadline_s=deadline_s))


@contextmanager
def _settled(host: str | None, port: int | None) -> Iterator[Settings]:
    """The settings, with a simulator running where it is the backend and nobody says where one is."""
    from voicespan_server.access.door import Door
    from voicespan_server.authorities import simulators_authority
    from voicespan_server.settings import load_settings
    from voicespan_simulator.process import SimulatorProcess

    overrides = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = load_settings(**overrides)
    Door(settings)  # what is wrong with it is told once, here
    # By the environment, so that worker processes find it too, and the application knows where it is.
    os.environ["VOICESPAN_HOST"] = settings.host
    port = _free_port(settings.host, settings.port)
    os.environ["VOICESPAN_PORT"] = str(port)
    settings = settings.model_copy(update={"port": port})
    if settings.chosen_backend != "simulator" or settings.simulator_url:
        if settings.chosen_backend == "simulator":
            simulators_authority(settings)  # likewise
        yield settings
        return
    with SimulatorProcess(settings.simulator_scenario) as simulator:
        os.environ["VOICESPAN_SIMULATOR_URL"] = simulator.base_url
        os.environ["VOICESPAN_SIMULATOR_CA_FILE"] = str(simulator.ca_file)
        update = {"simulator_url": simulator.base_url, "simulator_ca_file": simulator.ca_file}
        yield settings.model_copy(update=update)


def _take_descriptors() -> None:
    """A call takes two, and systems give 1024 to who does not ask for more: beyond, connections would be reset."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):  # macOS has no limit, and takes none as one
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _free_port(host: str, port: int) -> int:
    """The port, and for 0 one that is free; that it is taken is said before anything is started on it."""
    import socket

    from voicespan_server.settings import SettingsError

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            bound: int = probe.getsockname()[1]
            return bound
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
        "http": "voicespan_server.client_http:ClientHttp",
        "ws": "voicespan_server.client_leg:ClientLeg",
        # Deflate costs 40 us a frame and takes 7 % off speech.
        "ws_per_message_deflate": False,
        "ws_max_size": settings.max_message_bytes,
        "ws_ping_interval": settings.ping_interval_s or None,
        "ws_ping_timeout": settings.ping_interval_s or None,
        # uvicorn believes X-Forwarded-For of everybody on this machine; whom to believe is a setting of ours.
        "proxy_headers": False,
        "timeout_graceful_shutdown": 5,
    }


if __name__ == "__main__":
    main()
