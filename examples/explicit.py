"""The explicit API: a program that tells its own session, and runs its tool inside the tool's span.

opentelemetry-instrument --disabled_instrumentations gemini_live python examples/explicit.py question.wav
"""

import asyncio
import sys
import wave

from google import genai
from google.genai import types
from opentelemetry import trace

import voicespan
from voicespan import events as ev

MODEL = "gemini-3.8-live"
TOOLS = [{"function_declarations": [{"name": "search_nearby"}, {"name": "navigate_to_location"}]}]
tracer = trace.get_tracer("example")


def look_up(name: str) -> dict[str, object]:
    with tracer.start_as_current_span("look up in the map", attributes={"tool": name}):
        return {"result": "two minutes away"}


async def main(question: str) -> None:
    session = voicespan.start_session(MODEL, voicespan.Identity("call-1", user_id="user-1"))
    translator = voicespan.GeminiTranslator()
    error = None
    try:
        session.feed(ev.Dialing())
        async with genai.Client().aio.live.connect(model=MODEL, config={"tools": TOOLS}) as live:
            session.feed(ev.Connected())
            with wave.open(question) as recording:
                while chunk := recording.readframes(1600):
                    session.audio_sent(chunk)
                    await live.send_realtime_input(audio=types.Blob(data=chunk, mime_type="audio/pcm;rate=16000"))
            session.feed(ev.AudioStreamEnd())
            await live.send_realtime_input(audio_stream_end=True)
            async for message in live.receive():
                for event in translator.events(message):
                    session.feed(event)
                    if isinstance(event, ev.ToolCall):
                        with voicespan.in_tool(session, event.call_id):
                            result = look_up(event.name)
                        session.feed(ev.ToolResponse(event.call_id, voicespan.ToolOutcome.OK, result))
                        answer = types.FunctionResponse(id=event.call_id, name=event.name, response=result)
                        await live.send_tool_response(function_responses=answer)
    except Exception as problem:
        error = type(problem).__name__
        raise
    finally:
        session.close(voicespan.Close(1000, "", "server"), error)


asyncio.run(main(sys.argv[1]))
