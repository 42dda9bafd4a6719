"""A typed conversation with spoken answers, as google-genai's documentation has it. Nothing in here knows of telemetry.

opentelemetry-instrument python examples/typed_chat.py "Where is a cafe?" "Take me to the cathedral."
"""

import asyncio
import sys

from google import genai

CONFIG = {"response_modalities": ["AUDIO"], "output_audio_transcription": {}}


async def main(questions: list[str]) -> None:
    client = genai.Client()
    async with client.aio.live.connect(model="gemini-3.8-live", config=CONFIG) as session:
        for question in questions:
            await session.send_client_content(turns={"role": "user", "parts": [{"text": question}]})
            async for message in session.receive():
                if message.server_content and message.server_content.output_transcription:
                    print(message.server_content.output_transcription.text, end="")
            print()


asyncio.run(main(sys.argv[1:]))
