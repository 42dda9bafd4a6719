"""websockets on both sides, its coroutines, and the least that can be done to a message; on uvloop or plain asyncio."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys

import pybase64
import uvloop
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from voicespan_server.audio_wire import model_audio

trust = ssl.create_default_context(cafile=os.environ["RELAY_CA_FILE"])
SERVICE = os.environ["RELAY_SERVICE"].replace("https", "wss") + "/live"


async def relay(client: ServerConnection) -> None:
    await client.recv()
    async with connect(SERVICE, ssl=trust, compression=None, ping_interval=None) as model:
        await model.send('{"setup":{"model":"models/gemini-3.8-live"}}')
        await model.recv()
        await client.send('{"type": "ready"}')

        async def up() -> None:
            while True:
                data = await client.recv()
                assert isinstance(data, bytes)
                text = pybase64.b64encode_as_string(data)
                await model.send(
                    f'{{"realtime_input":{{"audio":{{"data":"{text}","mime_type":"audio/pcm;rate=16000"}}}}}}'
                )

        async def down() -> None:
            while True:
                message = await model.recv(decode=False)
                if audio := model_audio(message, 0, len(message)):
                    await client.send(audio[0])
                else:
                    said = json.loads(message)["serverContent"].get("outputTranscription")
                    if said:
                        await client.send(json.dumps({"type": "transcript", "text": said["text"]}))

        tasks = {asyncio.create_task(up()), asyncio.create_task(down())}
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        for task in done:
            if not isinstance(task.exception(), ConnectionClosed | None):
                task.result()


async def main() -> None:
    async with serve(
        relay,
        "127.0.0.1",
        int(sys.argv[1]),
        compression=None,
        ping_interval=None,
        subprotocols=[Subprotocol("voice.v1")],
    ) as server:
        await server.serve_forever()


if __name__ == "__main__":
    if os.environ.get("RELAY_LOOP") == "asyncio":
        asyncio.run(main())
    else:
        uvloop.run(main())
