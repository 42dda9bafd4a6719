"""How a call's socket tells of its end."""

from typing import Any, cast

import pytest
from starlette.websockets import WebSocket

from voicespan.events import Close
from voicespan_server.hangup import HungUp
from voicespan_server.voice import Socket


class Left:
    """A WebSocket that its client closed."""

    def __init__(self, code: int) -> None:
        self.scope: dict[str, Any] = {}
        self._code = code

    async def receive(self) -> dict[str, Any]:
        return {"type": "websocket.disconnect", "code": self._code, "reason": "mine"}


async def test_a_code_of_the_servers_that_a_client_closes_with_is_the_clients() -> None:
    with pytest.raises(HungUp) as hung_up:
        await Socket(cast("WebSocket", Left(4429))).receive()
    assert hung_up.value.close == Close(4429, "mine", "client")
    assert hung_up.value.error_type is None
