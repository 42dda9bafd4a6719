"""The plain way: a FastAPI WebSocket on one side, google-genai's session on the other, and nothing besides."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from google import genai
from google.genai import errors, types

trust = ssl.create_default_context(cafile=os.environ["RELAY_CA_FILE"])
client = genai.Client(
    api_key="bench",
    vertexai=False,
    http_options=types.HttpOptions(
        base_url=os.environ["RELAY_SERVICE"],
        api_version="v1beta",
        # As favourable as may be: no deflate, no pings.
        async_client_args={"ssl": trust, "verify": trust, "compression": None, "ping_interval": None},
    ),
)
app = FastAPI()
CONFIG = types.LiveConnectConfig(
    response_modalities=[types.Modality.AUDIO],
    input_audio_transcription=types.AudioTranscriptionConfig(),
    output_audio_transcription=types.AudioTranscriptionConfig(),
)


@app.websocket("/ws/voice")
async def voice(websocket: WebSocket) -> None:
    await websocket.accept("voice.v1")
    await websocket.receive_text()
    async with client.aio.live.connect(model="gemini-3.8-live", config=CONFIG) as session:
        await websocket.send_text('{"type": "ready"}')

        async def up() -> None:
            while True:
                data = await websocket.receive_bytes()
                await session.send_realtime_input(audio=types.Blob(data=data, mime_type="audio/pcm;rate=16000"))

        async def down() -> None:
            while True:
                async for message in session.receive():
                    content = message.server_content
                    if content is None:
                        continue
                    for part in (content.model_turn.parts if content.model_turn else None) or ():
                        if part.inline_data and part.inline_data.data:
                            await websocket.send_bytes(part.inline_data.data)
                    if (said := content.output_transcription) and said.text:
                        await websocket.send_text(json.dumps({"type": "transcript", "text": said.text}))

        tasks = {asyncio.create_task(up()), asyncio.create_task(down())}
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        for task in done:
            if not isinstance(task.exception(), WebSocketDisconnect | RuntimeError | errors.APIError | None):
                task.result()


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        loop="uvloop",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_level="error",
        access_log=False,
    )
