"""A program whose calls are kept on this machine: to be looked at without a collector, or sent to one when it is there.

python examples/with_store.py question.wav calls.db
VOICESPAN_STORE_PATH=calls.db voicespan traces list
"""

import asyncio
import sys
import wave
from pathlib import Path

from google import genai
from google.genai import types

from voicespan.instrumentor import GeminiLiveInstrumentor
from voicespan.sdk.pipeline import configure

TOOLS = [{"function_declarations": [{"name": "search_nearby"}, {"name": "navigate_to_location"}]}]


async def main(question: str) -> None:
    client = genai.Client()
    async with client.aio.live.connect(model="gemini-3.8-live", config={"tools": TOOLS}) as session:
        with wave.open(question) as recording:
            while chunk := recording.readframes(1600):
                await session.send_realtime_input(audio=types.Blob(data=chunk, mime_type="audio/pcm;rate=16000"))
        await session.send_realtime_input(audio_stream_end=True)
        async for message in session.receive():
            for call in message.tool_call.function_calls if message.tool_call else ():
                result = types.FunctionResponse(id=call.id, name=call.name, response={"result": "two minutes away"})
                await session.send_tool_response(function_responses=[result])


pipeline = configure(Path(sys.argv[2]), service_version="1.0")
GeminiLiveInstrumentor().instrument()
try:
    asyncio.run(main(sys.argv[1]))
finally:
    pipeline.shutdown()  # what waits is written and sent, within five seconds
