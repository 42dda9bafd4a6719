"""Everything that the simulator sends in its scenarios, without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from support.simulated_call import ONE_SECOND, SETUP, UTTERANCE, Caller, Recorder
from voicespan_simulator.call import Call
from voicespan_simulator.client_messages import FunctionResponse, ToolResponse, parse_setup
from voicespan_simulator.conversation import Conversation, Handles
from voicespan_simulator.deeds import ConnectionDeed
from voicespan_simulator.dialect import DEVELOPER, VERTEX, call_ids
from voicespan_simulator.line import Line
from voicespan_simulator.pace import Pace
from voicespan_simulator.profiles import profile_of
from voicespan_simulator.scenario_file import load_scenarios
from voicespan_simulator.session import Session
from voicespan_simulator.voice import Voice

VOICE = Voice(dict.fromkeys(("generic", "goodbye", "market", "navigate", "plain", "search"), ONE_SECOND))
SCENARIOS = load_scenarios(["generic", "goodbye", "market", "navigate", "plain", "search"])
MODELS = {
    "models/gemini-3.8-live": DEVELOPER,
    "models/gemini-3.1-flash-live-preview": DEVELOPER,
    "gemini-2.5-flash-native-audio-latest": DEVELOPER,
    "publishers/google/models/gemini-live-2.5-flash": VERTEX,
}


async def played(scenario: str, model: str) -> AsyncIterator[Mapping[str, Any]]:
    """Everything that the simulator sends in a scenario to somebody who says something again and again."""
    profile = profile_of(model)
    assert profile is not None
    heard, dialect = Recorder(), MODELS[model]
    call = Call(
        setup=parse_setup({"setup": {"model": model, **SETUP, "sessionResumption": {}}}),
        profile=profile,
        dialect=dialect,
        conversation=Conversation(SCENARIOS[scenario], profile.accounting.base),
        handles=Handles(),
        voice=VOICE,
        line=Line(heard, Pace(real=False)),
        new_call_id=call_ids(dialect, profile.name),
        deed=ConnectionDeed(1, "", dialect.name, "test", 0),
    )
    caller = Caller(Session(call), heard, call)
    answered = 0
    for _ in range(len(SCENARIOS[scenario].turns) + 1):
        await caller.say(UTTERANCE)
        for _ in range(100):
            await asyncio.sleep(0)
        for asked in heard.calls()[answered:]:
            answered += 1
            response = FunctionResponse(str(asked.get("id", "")), str(asked["name"]), {"ok": True})
            await caller.session.take(ToolResponse((response,)))
        for _ in range(100):
            await asyncio.sleep(0)
    for message in heard.messages:
        yield message
