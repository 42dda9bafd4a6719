"""`voicespan call`: speak or type to a running server, see what is said, and the call's trace.

Exit status: 0, 1 where the call was refused or broke off, 2 where there is no server, or nothing to say.
"""

# ruff: noqa: PLC0415 - as in cli.py: heavy imports stay inside the commands

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voicespan_server.terminal import complain, out, say

if TYPE_CHECKING:
    from voicespan_server.client import VoiceClient
    from voicespan_server.remote import RestClient

VoiceUrl = Annotated[str, typer.Option(help="The server's voice socket.")]
ApiKey = Annotated[
    str | None,
    typer.Option(envvar="VOICESPAN_API_KEY", help="A key of a server that asks for one.", show_envvar=True),
]
DEFAULT_URL = "ws://127.0.0.1:8000/ws/voice"
# A server hangs up on who says nothing for a minute.
KEEPALIVE_S = 20.0


def call(  # noqa: PLR0917 - typer calls it by name
    lines: Annotated[
        list[Path] | None, typer.Argument(help="WAV files to speak, in turn: 16 kHz, 16 bits, mono.")
    ] = None,
    text: Annotated[list[str] | None, typer.Option("--text", "-t", help="Type this; may be repeated.")] = None,
    url: VoiceUrl = DEFAULT_URL,
    api_key: ApiKey = None,
    trace: Annotated[bool, typer.Option(help="Print the call's trace, read by the server's REST API.")] = True,
    answer_s: Annotated[float, typer.Option(min=1, help="How long an answer may take, in seconds.")] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end instead.")] = False,
) -> None:
    """Call a running server, by voice or keyboard.

    Speaks WAV files, types words, or types line by line what is entered where neither is given. Prints what is said as
    it is said, and the call's trace.
    """
    import asyncio

    from voicespan_server.client import CallError, read_wav
    from voicespan_server.remote import RestClient

    rest = RestClient(url, api_key)
    spoken = [read_wav(path) for path in lines or ()]
    said: AsyncIterator[bytes | str] = _all_of([*spoken, *(text or ())]) if spoken or text else _typed_lines()
    try:
        asyncio.run(
            _place(
                said,
                url,
                rest,
                with_token=bool(api_key),
                microphone=bool(spoken),
                trace=trace,
                answer_s=answer_s,
                as_json=as_json,
            )
        )
    except TimeoutError:
        complain(f"{url}: no answer within {answer_s:g} s")
        raise typer.Exit(1) from None
    except CallError as error:
        complain(error)
        raise typer.Exit(1) from None
    except OSError as error:
        raise CallError(f"{url}: {error}") from error


async def _place(
    said: AsyncIterator[bytes | str],
    url: str,
    rest: RestClient,
    *,
    with_token: bool,
    microphone: bool,
    trace: bool,
    answer_s: float,
    as_json: bool,
) -> None:
    import asyncio

    from voicespan_server import client as voice_client
    from voicespan_server.narrator import Narrator
    from voicespan_server.server_messages import TurnCompleted

    narrator = Narrator(out())
    try:
        token = await asyncio.to_thread(rest.session_token) if with_token else None
        async with voice_client.call(url, token=token, microphone=microphone) as running:
            if not as_json:
                running.listener = narrator
            keeping = asyncio.create_task(_keep_alive(running))
            try:
                async for line in said:
                    answered = len(running.of(TurnCompleted))
                    await (running.say(line) if isinstance(line, bytes) else running.type_text(line))
                    await running.wait_for(
                        lambda c, n=answered: len(c.of(TurnCompleted)) > n,  # type: ignore[misc]
                        answer_s,
                    )
            finally:
                keeping.cancel()
            await running.hang_up()
        spans = await asyncio.to_thread(rest.trace, running.trace_id) if trace else []
    finally:
        narrator.end_line()
        rest.close()
    if as_json:
        from dataclasses import asdict

        told = {
            "session_id": running.session_id,
            "trace_id": running.trace_id,
            "heard_s": round(running.heard_s, 3),
            "close": {"code": running.close_code, "reason": running.close_reason},
            "messages": [message.model_dump() for message in running.messages],
            "spans": [asdict(span) for span in spans],
        }
        print(json.dumps(told, ensure_ascii=False))
    elif trace:
        from voicespan_server import trace_tree

        out().print()
        out().print(trace_tree.build(spans))
    else:
        say(f"trace {running.trace_id}")


async def _keep_alive(running: VoiceClient) -> None:
    import asyncio

    from websockets.exceptions import ConnectionClosed

    try:
        while True:
            await asyncio.sleep(KEEPALIVE_S)
            await running.ping(0)
    except ConnectionClosed:
        pass


async def _all_of(lines: list[bytes | str]) -> AsyncIterator[bytes | str]:
    for line in lines:
        yield line


async def _typed_lines() -> AsyncIterator[bytes | str]:
    """Lines of standard input, with a prompt where somebody sits there."""
    import asyncio

    prompting = sys.stdin.isatty()
    if prompting:
        say("Type, and press Enter; an empty line, or Ctrl-D, hangs up.")
    while True:
        if prompting:
            out().print("> ", end="")
        line = await asyncio.to_thread(sys.stdin.readline)
        if not line.strip():
            if prompting or not line:
                return
            continue
        yield line.strip()
