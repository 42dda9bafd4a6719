"""Somebody's FastAPI server with a voice route, instrumented from outside.

    opentelemetry-instrument uvicorn examples.fastapi_app:app

The session's span stands in the trace of the request that opened the socket. OTEL_PYTHON_FASTAPI_EXCLUDED_URLS=/voice
keeps FastAPI's instrumentation from making two spans of every frame; the session is then a trace of its own.
"""

import asyncio

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from google import genai
from google.genai import types

app = FastAPI()


@app.get("/hello")
async def hello() -> dict[str, str]:
    return {"hello": "there"}


@app.websocket("/voice")
async def voice(socket: WebSocket) -> None:
    await socket.accept()
    client = genai.Client()
    async with client.aio.live.connect(model="gemini-3.8-live") as session:

        async def listen() -> None:
            while True:
                chunk = await socket.receive_bytes()
                await session.send_realtime_input(audio=types.Blob(data=chunk, mime_type="audio/pcm;rate=16000"))

        async def speak() -> None:
            while True:
                async for message in session.receive():
                    if message.data:
                        await socket.send_bytes(message.data)
                    if message.server_content and message.server_content.turn_complete:
                        await socket.send_json({"turn": "complete"})

        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(speak())
                await listen()
        except* WebSocketDisconnect:
            pass  # the caller hung up
