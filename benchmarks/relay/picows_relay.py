"""picows, a WebSocket library in C, on both sides: what a relay in Python costs that does nothing but relay.

No framework, no SDK, no telemetry, no bounds: the floor for the others.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from typing import Any

import pybase64
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_connect, ws_create_server

from voicespan_server.audio_wire import model_audio

trust = ssl.create_default_context(cafile=os.environ["RELAY_CA_FILE"])
SERVICE = os.environ["RELAY_SERVICE"].replace("https", "wss") + "/live"
HEAD, TAIL = b'{"realtime_input":{"audio":{"data":"', b'","mime_type":"audio/pcm;rate=16000"}}}'
dials: set[asyncio.Task[None]] = set()


class Model(WSListener):  # type: ignore[misc]
    def __init__(self, client: Client) -> None:
        self.client = client
        self.set_up = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        transport.send(WSMsgType.TEXT, b'{"setup":{"model":"models/gemini-3.8-live"}}')

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        message = frame.get_payload_as_bytes()
        if not self.set_up:
            self.set_up = True
            self.client.model = transport
            self.client.transport.send(WSMsgType.TEXT, b'{"type": "ready"}')
        elif audio := model_audio(message, 0, len(message)):
            self.client.transport.send(WSMsgType.BINARY, audio[0])
        elif frame.msg_type != WSMsgType.CLOSE:
            said = json.loads(message)["serverContent"].get("outputTranscription")
            if said:
                text = json.dumps({"type": "transcript", "text": said["text"]}).encode()
                self.client.transport.send(WSMsgType.TEXT, text)


class Client(WSListener):  # type: ignore[misc]
    model: Any = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.BINARY and self.model:
            text = pybase64.b64encode(frame.get_payload_as_bytes())
            self.model.send(WSMsgType.TEXT, b"".join((HEAD, text, TAIL)))
        elif frame.msg_type == WSMsgType.TEXT:
            task = asyncio.create_task(self.dial())
            dials.add(task)
            task.add_done_callback(dials.discard)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self.model:
            self.model.disconnect()

    async def dial(self) -> None:
        await ws_connect(lambda: Model(self), SERVICE, ssl_context=trust)


def accept(_: WSUpgradeRequest) -> Client:
    return Client()


async def main() -> None:
    server = await ws_create_server(accept, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
