"""The demo: the server, one spoken call through its real socket at real pace, and the call's trace in the terminal."""

from __future__ import annotations

import asyncio
import signal
import sys
from importlib.resources import files
from pathlib import Path

import uvicorn
from rich.console import Console

from voicespan.redaction import without_password
from voicespan.sdk.signals import Signal
from voicespan_server import client as voice_client
from voicespan_server import trace_tree
from voicespan_server.client import CallError, VoiceClient
from voicespan_server.narrator import Narrator
from voicespan_server.server import Server
from voicespan_server.server_messages import Interrupted, TurnCompleted
from voicespan_server.terminal import write_no_more

LINES = ("01-navigate.wav", "02-search.wav", "03-market.wav", "04-thanks.wav")
# How much of the third answer the caller listens to before talking over it.
PATIENCE_S = 2.0


class DemoConsole(Console):
    """Whose reader may go, as `head` does: then the server ends as by a signal, in order."""

    def on_broken_pipe(self) -> None:
        """Instead of rich's, which raises SystemExit through the event loop."""
        self.quiet = True
        write_no_more()
        signal.raise_signal(signal.SIGTERM)


async def place_call(url: str, narrator: Narrator) -> str:
    """Speak the demo's lines, hang up, and return the trace's id.

    Raises:
        CallError, OSError, TimeoutError: the call did not come about, or did not go on.
    """
    lines = [voice_client.read_wav(Path(str(files(__package__) / "demo_audio" / name))) for name in LINES]
    async with voice_client.call(url, user_id="demo-caller") as call:
        call.listener = narrator
        for line in lines[:2]:
            turn = len(call.of(TurnCompleted))
            await call.say(line)
            await call.wait_for(lambda c, turn=turn: len(c.of(TurnCompleted)) > turn)  # type: ignore[misc]
        heard_s = call.heard_s
        await call.say(lines[2])
        await call.wait_for(lambda c: c.heard_s > heard_s)
        await asyncio.sleep(PATIENCE_S)
        await _talk_over(call, lines[3])
        await call.hang_up()
        return call.trace_id


async def _talk_over(call: VoiceClient, line: bytes) -> None:
    """Barge in, and hear the answer to that."""
    interrupted = len(call.of(Interrupted))
    completed = len(call.of(TurnCompleted))
    await call.say(line)
    await call.wait_for(lambda c: len(c.of(Interrupted)) > interrupted)
    await call.wait_for(lambda c: len(c.of(TurnCompleted)) > completed + 1)


def banner(console: Console, url: str, server: Server) -> None:
    """Where the server is, what answers, and where its telemetry goes."""
    upstream, pipeline = server.upstream, server.pipeline
    simulated = (
        " (a simulator: it follows a script and recognises no speech)" if upstream.backend == "simulator" else ""
    )
    receiver = pipeline.endpoints.get(Signal.TRACES)
    goes = without_password(receiver.url) if receiver else "nowhere else (set OTEL_EXPORTER_OTLP_ENDPOINT)"
    content = "captured" if server.telemetry.capture.on_spans else "not captured"
    console.print(f"[bold]Voicespan[/bold]  {url}", highlight=False)
    console.print(f"  model    {upstream.model.name} by {upstream.backend}{simulated}", highlight=False)
    console.print(f"  store    {pipeline.store.path or 'memory'}", highlight=False, soft_wrap=True)
    console.print(f"  OTLP to  {goes}", highlight=False)
    console.print(f"  words    {content} on spans\n", highlight=False)


async def run(server: Server, uvicorn_server: uvicorn.Server, console: Console, *, once: bool) -> bool:
    """Serve, place the call, print its trace; then go on serving, or with `once` end. False where the call failed."""
    serving = asyncio.create_task(uvicorn_server.serve())
    while not uvicorn_server.started:
        if serving.done():
            return False
        await asyncio.sleep(0.02)
    host, port = uvicorn_server.servers[0].sockets[0].getsockname()[:2]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    banner(console, f"http://{address}", server)
    succeeded = await _demonstrate(f"ws://{address}/ws/voice", server, console)
    if once or not succeeded:
        uvicorn_server.should_exit = True
    else:
        console.print(f"\nServing on http://{address} until Ctrl-C. The trace again: {_command()} traces list")
    await serving
    return succeeded


async def _demonstrate(url: str, server: Server, console: Console) -> bool:
    console.print("A call with four spoken lines, at real pace:", style="bold")
    narrator = Narrator(console)
    try:
        trace_id = await place_call(url, narrator)
    except (CallError, OSError, TimeoutError) as error:
        narrator.end_line()
        console.print(f"[red]the call failed:[/red] {str(error) or type(error).__name__}")
        return False
    console.print()
    spans = await asyncio.to_thread(server.stored_trace, trace_id)
    if not spans:
        console.print("[red]no span was recorded:[/red] is OTEL_SDK_DISABLED set, or a sampler that drops all?")
        return False
    console.print(trace_tree.build(spans))
    if link := await asyncio.to_thread(server.langfuse_link, trace_id):
        console.print(f"\nin Langfuse: {link}", highlight=False, soft_wrap=True)
    return True


def _command() -> str:
    """How this program was called, so that what is said can be typed."""
    return sys.argv[0] if sys.argv[0].endswith("voicespan") else "voicespan"
