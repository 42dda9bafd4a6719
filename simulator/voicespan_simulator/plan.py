"""What an exchange is to be: from a scenario's turn, or by rule from typed words."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from voicespan_simulator.rules import FAILED, HELP, call_for, failed, sentence_about
from voicespan_simulator.scenario import Answer, Ending, FunctionCall, Hold, Turn
from voicespan_simulator.wire_json import JsonValue


@dataclass(frozen=True, slots=True)
class Plan:
    """Calls, then an answer; without a fixed answer it is made from what the tools said."""

    calls: tuple[FunctionCall, ...] = ()
    answer: Answer | None = None
    spoken: bool = False  # the user spoke, else they typed
    hold: Hold | None = None
    ending: Ending | None = None

    def answer_to(self, results: Sequence[JsonValue]) -> Answer:
        """What the model says once the tools have answered."""
        if self.answer is None:
            return Answer(sentence_about(results))
        return Answer(FAILED) if any(failed(result) for result in results) else self.answer


def plan_of_turn(turn: Turn, functions: Collection[str]) -> Plan:
    """A scenario's turn; as a real model, it calls only what the client declared."""
    calls = tuple(call for call in turn.calls if call.name in functions)
    return Plan(calls, turn.answer, spoken=True, hold=turn.hold, ending=turn.ending)


def plan_of_text(text: str, functions: Collection[str]) -> Plan:
    """What typed words get."""
    call = call_for(text, functions)
    return Plan(answer=Answer(HELP)) if call is None else Plan(calls=(call,))
