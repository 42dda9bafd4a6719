"""Google ADK's live runner: an agent with a tool, spoken to. It knows nothing of telemetry."""

import asyncio
import sys
import wave

from google.adk.agents import Agent, LiveRequestQueue
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.runners import InMemoryRunner
from google.genai import types


def navigate_to_location(destination: str) -> dict[str, str]:
    """The way to a place."""
    return {"result": f"{destination}: two minutes away"}


AGENT = Agent(
    name="guide", model="gemini-3.8-live", instruction="You are a guide to Helsinki.", tools=[navigate_to_location]
)


async def main(question: str) -> None:
    runner = InMemoryRunner(agent=AGENT, app_name="guide")
    session = await runner.session_service.create_session(app_name="guide", user_id="user-1")
    queue = LiveRequestQueue()
    config = RunConfig(streaming_mode=StreamingMode.BIDI, response_modalities=["AUDIO"])
    events = runner.run_live(user_id="user-1", session_id=session.id, live_request_queue=queue, run_config=config)
    with wave.open(question) as recording:
        pcm = recording.readframes(recording.getnframes()) + bytes(2 * 16_000 * 2)
    for begin in range(0, len(pcm), 3200):
        queue.send_realtime(types.Blob(data=pcm[begin : begin + 3200], mime_type="audio/pcm;rate=16000"))
    async for event in events:
        if event.turn_complete:
            break
    queue.close()
    await events.aclose()


asyncio.run(main(sys.argv[1]))
