"""Ask a question by voice, save the answer. Nothing in here knows of telemetry.

opentelemetry-instrument python examples/live_call.py question.wav answer.wav
"""

import asyncio
import sys
import wave

from google import genai
from google.genai import types

SEARCH = {"name": "search_nearby", "description": "Places near the user."}
NAVIGATE = {"name": "navigate_to_location", "description": "The way to a place."}
CONFIG = {"response_modalities": ["AUDIO"], "tools": [{"function_declarations": [SEARCH, NAVIGATE]}]}


async def main(question: str, answer: str) -> None:
    client = genai.Client()
    async with client.aio.live.connect(model="gemini-3.8-live", config=CONFIG) as session:
        with wave.open(question) as recording:
            while chunk := recording.readframes(1600):
                await session.send_realtime_input(audio=types.Blob(data=chunk, mime_type="audio/pcm;rate=16000"))
        await session.send_realtime_input(audio_stream_end=True)
        with wave.open(answer, "wb") as spoken:
            spoken.setparams((1, 2, 24000, 0, "NONE", ""))
            async for message in session.receive():
                if message.data:
                    spoken.writeframes(message.data)
                for call in message.tool_call.function_calls if message.tool_call else ():
                    result = types.FunctionResponse(id=call.id, name=call.name, response={"result": "two minutes away"})
                    await session.send_tool_response(function_responses=[result])


asyncio.run(main(*sys.argv[1:3]))
