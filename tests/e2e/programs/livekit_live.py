"""LiveKit's Gemini Live model in an agent's session without a room, spoken to. It knows nothing of telemetry."""

import asyncio
import sys
import wave

from livekit import rtc
from livekit.agents import Agent, AgentSession, function_tool
from livekit.agents.voice import io
from livekit.plugins import google


class Microphone(io.AudioInput):
    """A recording, then silence, some times as fast as it was spoken."""

    def __init__(self, pcm: bytes) -> None:
        super().__init__(label="recording")
        self._pcm = pcm

    async def __anext__(self) -> rtc.AudioFrame:
        await asyncio.sleep(0.005)
        chunk, self._pcm = self._pcm[:1600], self._pcm[1600:]
        return rtc.AudioFrame(chunk.ljust(1600, b"\0"), 16_000, 1, 800)


class Loudspeaker(io.AudioOutput):
    """Plays in no time."""

    def __init__(self) -> None:
        super().__init__(label="none", capabilities=io.AudioOutputCapabilities(pause=False), sample_rate=24_000)
        self._played_s = 0.0
        self.silent = asyncio.Event()

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        self._played_s += frame.duration

    def flush(self) -> None:
        super().flush()
        if self._played_s:
            self.on_playback_finished(playback_position=self._played_s, interrupted=False)
            self.silent.set()

    def clear_buffer(self) -> None:
        self.flush()


@function_tool
async def navigate_to_location(destination: str) -> str:
    """The way to a place."""
    return f"{destination}: two minutes away"


async def main(question: str) -> None:
    agent = Agent(instructions="You are a guide to Helsinki.", tools=[navigate_to_location])
    session = AgentSession(llm=google.realtime.RealtimeModel(model="gemini-3.8-live"))
    with wave.open(question) as recording:
        session.input.audio = Microphone(recording.readframes(recording.getnframes()))
    session.output.audio = loudspeaker = Loudspeaker()
    await session.start(agent)
    await loudspeaker.silent.wait()
    await asyncio.sleep(0.5)
    await session.aclose()


asyncio.run(main(sys.argv[1]))
