"""The tools of one call: each runs beside the receive loop and is answered once, or not at all if it was taken back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from google.genai import types
from opentelemetry import context as otel_context

from voicespan import VoiceSession
from voicespan import events as ev
from voicespan_server.failures import ConnectionFailed
from voicespan_server.live_connection import LiveConnection
from voicespan_server.protocol import Message
from voicespan_server.tools import Toolbox
from voicespan_server.waiting import Flag

logger = logging.getLogger(__name__)


class ToolRunner:
    """Runs what the model calls, in tasks of the call's group. `connection` says where the model is reached now.

    `idle` is set while nothing runs.
    """

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        session: VoiceSession,
        connection: Callable[[], LiveConnection | None],
        tell: Callable[[Message], None],
        toolbox: Toolbox,
    ) -> None:
        self._toolbox = toolbox
        self._tasks = tasks
        self._session = session
        self._connection = connection
        self._tell = tell
        self._running: dict[str, asyncio.Task[None]] = {}
        self.idle = Flag()
        self.idle.set()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, call: ev.ToolCall) -> None:
        """Run a call, unless one of its id runs."""
        if call.call_id not in self._running:
            self._running[call.call_id] = self._tasks.create_task(self._run(call, self._connection()))
            self.idle.clear()

    def cancel(self, call_id: str) -> None:
        """The model took a call back: stop it, and send nothing."""
        if task := self._forget(call_id):
            task.cancel()

    def _forget(self, call_id: str) -> asyncio.Task[None] | None:
        task = self._running.pop(call_id, None)
        if not self._running:
            self.idle.set()
        return task

    async def _run(self, call: ev.ToolCall, asked_over: LiveConnection | None) -> None:
        context = self._session.tool_context(call.call_id)
        token = otel_context.attach(context) if context else None
        try:
            end = await self._toolbox.run(call.name, call.arguments)
        finally:
            if token:
                otel_context.detach(token)
        if asked_over is None or asked_over is not self._connection():
            # A resumed session knows nothing of the calls of the former connection.
            self._forget(call.call_id)
            return
        # Told before it is sent: the model's next words may be read while the send still waits.
        self._session.feed(ev.ToolResponse(call.call_id, end.outcome, end.response, end.error))
        for message in app_events(call.name, end.response):
            self._tell(message)
        call_id = None if call.unnamed else call.call_id  # an id the service never gave would end the session
        try:
            await asked_over.send_tool_response(
                types.FunctionResponse(id=call_id, name=call.name, response=end.response)
            )
        except ConnectionFailed:
            pass  # the receiving side tells of it
        except ValueError as error:
            # Only Vertex leaves ids out; the SDK answers no call of the Developer API without one.
            logger.warning("the model's call of %s cannot be answered: %s", call.name, error)
        self._forget(call.call_id)


def app_events(tool: str, response: Message) -> list[Message]:
    """What an application shows of a tool's result: places on a map, or the way to one."""
    if tool == "search_nearby" and "places" in response:
        return [{"type": "places", "places": response["places"]}]
    if tool == "navigate_to_location" and "position" in response:
        return [{"type": "navigate", "destination": response["destination"], "position": response["position"]}]
    return []
