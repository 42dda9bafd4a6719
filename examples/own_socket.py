"""A program with a socket of its own: raw JSON frames, no google-genai.

    opentelemetry-instrument python examples/own_socket.py question.wav

GEMINI_URL is the address of the service, GEMINI_API_KEY the key.
"""

import asyncio
import base64
import json
import os
import ssl
import sys
import wave

from websockets.asyncio.client import connect

import voicespan
from voicespan import events as ev

MODEL = "gemini-3.8-live"
SERVICE = "google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
URL = os.environ.get("GEMINI_URL", "wss://generativelanguage.googleapis.com") + f"/ws/{SERVICE}"
SETUP = {"setup": {"model": f"models/{MODEL}", "generationConfig": {"responseModalities": ["AUDIO"]}}}


async def main(question: str) -> None:
    session = voicespan.start_session(MODEL)
    wire = voicespan.GeminiJson()

    async def send(message: dict[str, object]) -> None:
        for event in wire.sent(message):
            session.feed(event)
        await socket.send(json.dumps(message))

    error = None
    try:
        session.feed(ev.Dialing())
        headers = {"x-goog-api-key": os.environ["GEMINI_API_KEY"]}
        trust = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE"))
        async with connect(URL, additional_headers=headers, ssl=trust) as socket:
            await send(SETUP)
            await socket.recv()
            session.feed(ev.Connected())
            with wave.open(question) as recording:
                while chunk := recording.readframes(1600):
                    session.audio_sent(chunk)
                    audio = {"data": base64.b64encode(chunk).decode(), "mimeType": "audio/pcm;rate=16000"}
                    await send({"realtimeInput": {"audio": audio}})
            await send({"realtimeInput": {"audioStreamEnd": True}})
            async for frame in socket:
                events = wire.received(frame)
                for event in events:
                    session.feed(event)
                if any(isinstance(event, ev.TurnComplete) for event in events):
                    break
    except Exception as problem:
        error = type(problem).__name__
        raise
    finally:
        session.close(voicespan.Close(1000, "", "server"), error)


asyncio.run(main(sys.argv[1]))
