"""A program whose tool asks a service with httpx, under httpx's own instrumentation."""

import asyncio
import sys
import wave
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import httpx
from google import genai
from google.genai import types

import voicespan
from voicespan.instrumentor import session_of

MODEL = "gemini-3.8-live"
TOOLS = [{"function_declarations": [{"name": "search_nearby"}, {"name": "navigate_to_location"}]}]


class Service(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = self.headers["traceparent"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


async def main(question: str, service: str) -> None:
    async with (
        httpx.AsyncClient(base_url=service) as http,
        genai.Client().aio.live.connect(model=MODEL, config={"tools": TOOLS}) as session,
    ):
        with wave.open(question) as recording:
            while chunk := recording.readframes(1600):
                await session.send_realtime_input(audio=types.Blob(data=chunk, mime_type="audio/pcm;rate=16000"))
        await session.send_realtime_input(audio_stream_end=True)
        async for message in session.receive():
            for call in message.tool_call.function_calls if message.tool_call else ():
                with voicespan.in_tool(session_of(session), call.id):
                    answer = await http.get("/way")
                result = types.FunctionResponse(id=call.id, name=call.name, response={"result": answer.text})
                await session.send_tool_response(function_responses=result)


with HTTPServer(("127.0.0.1", 0), Service) as server:
    Thread(target=server.serve_forever, daemon=True).start()
    asyncio.run(main(sys.argv[1], f"http://127.0.0.1:{server.server_port}"))
    server.shutdown()
