"""One line of instrumentation, in a program that sets up its SDK itself.

python examples/one_line.py question.wav
"""

import asyncio
import sys
import wave

from google import genai
from google.genai import types
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

import voicespan
from voicespan.instrumentor import GeminiLiveInstrumentor

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)

GeminiLiveInstrumentor().instrument()


async def main(question: str) -> None:
    client = genai.Client()
    # Whose session it is, where the program knows; without it the session gets an id of its own.
    with voicespan.session_context(session_id="call-1", user_id="user-1"):
        async with client.aio.live.connect(model="gemini-3.8-live") as session:
            with wave.open(question) as recording:
                while chunk := recording.readframes(1600):
                    await session.send_realtime_input(audio=types.Blob(data=chunk, mime_type="audio/pcm;rate=16000"))
            await session.send_realtime_input(audio_stream_end=True)
            async for _ in session.receive():
                pass


asyncio.run(main(sys.argv[1]))
