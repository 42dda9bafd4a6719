"""Calls to the simulator without sockets."""

from collections.abc import Sequence

import pytest

from support.simulated_call import ONE_SECOND, SETUP, Caller, Dial, Recorder
from voicespan_simulator.call import Call
from voicespan_simulator.client_messages import Setup, parse_setup
from voicespan_simulator.conversation import Conversation, Handles
from voicespan_simulator.deeds import ConnectionDeed
from voicespan_simulator.dialect import DEVELOPER, VERTEX, call_ids
from voicespan_simulator.line import Line
from voicespan_simulator.pace import Pace
from voicespan_simulator.profiles import profile_of
from voicespan_simulator.scenario import Answer, Scenario, Turn
from voicespan_simulator.session import Session
from voicespan_simulator.voice import Voice
from voicespan_simulator.wire_json import JsonValue


@pytest.fixture
def dial() -> Dial:
    handles = Handles()

    def dial(
        model: str,
        turns: Sequence[Turn] = (),
        *,
        vertex: bool = False,
        words: str = "One two three four five six.",
        conversation: Conversation | None = None,
        **changes: JsonValue,
    ) -> Caller:
        setup: Setup = parse_setup({"setup": {"model": model, **SETUP, **changes}})
        profile = profile_of(model)
        assert profile is not None
        scenario = Scenario("test", "a test", tuple(turns) or (Turn("Good morning there.", Answer(words, "second")),))
        dialect = VERTEX if vertex else DEVELOPER
        heard = Recorder()
        call = Call(
            setup=setup,
            profile=profile,
            dialect=dialect,
            conversation=conversation or Conversation(scenario, profile.accounting.base),
            handles=handles,
            voice=Voice({"second": ONE_SECOND, "generic": ONE_SECOND}),
            line=Line(heard, Pace(real=False)),
            new_call_id=call_ids(dialect, profile.name),
            deed=ConnectionDeed(1, "", dialect.name, "test", 0),
        )
        return Caller(Session(call), heard, call)

    return dial
