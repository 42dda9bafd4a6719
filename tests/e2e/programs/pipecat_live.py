"""Pipecat's Gemini Live service in a pipeline of its own, spoken to. It knows nothing of telemetry."""

import asyncio
import os
import sys
import wave

from pipecat.adapters.schemas.function_schema import FunctionSchema
from pipecat.adapters.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import EndFrame, Frame, InputAudioRawFrame, LLMFullResponseEndFrame, LLMRunFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.google.gemini_live.llm import GeminiLiveLLMService
from pipecat.services.llm_service import FunctionCallParams

WAY = FunctionSchema(
    "navigate_to_location", "The way to a place.", {"destination": {"type": "string"}}, ["destination"]
)


async def navigate_to_location(params: FunctionCallParams) -> None:
    await params.result_callback({"result": "two minutes away"})


class Answered(FrameProcessor):
    """Tells when the model's answer is complete."""

    def __init__(self) -> None:
        super().__init__()
        self.event = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMFullResponseEndFrame):
            self.event.set()
        await self.push_frame(frame, direction)


async def main(question: str) -> None:
    llm = GeminiLiveLLMService(
        api_key=os.environ["GOOGLE_API_KEY"],
        settings=GeminiLiveLLMService.Settings(
            model="gemini-3.8-live", system_instruction="You are a guide to Helsinki."
        ),
        tools=ToolsSchema([WAY]),
    )
    llm.register_function("navigate_to_location", navigate_to_location)
    context, answered = LLMContextAggregatorPair(LLMContext()), Answered()
    worker = PipelineWorker(Pipeline([context.user(), llm, answered, context.assistant()]))

    async def call() -> None:
        await worker.queue_frame(LLMRunFrame())
        await asyncio.sleep(1)  # until it is connected; what comes earlier is dropped
        with wave.open(question) as recording:
            pcm = recording.readframes(recording.getnframes()) + bytes(2 * 16_000 * 2)
        for begin in range(0, len(pcm), 640):
            await worker.queue_frame(InputAudioRawFrame(pcm[begin : begin + 640], 16_000, 1))
            await asyncio.sleep(0.001)
        await answered.event.wait()
        await asyncio.sleep(0.5)
        await worker.queue_frame(EndFrame())

    calling = asyncio.create_task(call())
    await PipelineRunner(handle_sigint=False).run(worker)
    await calling


asyncio.run(main(sys.argv[1]))
