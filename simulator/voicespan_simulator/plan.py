"""What an exchange is to be: from a scenario's turn, by rule from typed words, or from what a tool answered."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from voicespan_simulator.deeds import How
from voicespan_simulator.rules import FAILED, HELP, call_for, failed, sentence_about
from voicespan_simulator.scenario import (
    Answer,
    Ending,
    FunctionCall,
    Hold,
    Instead,
    Transcripts,
    Turn,
    UsageReports,
)
from voicespan_simulator.wire_json import JsonValue


@dataclass(frozen=True, slots=True)
class Plan:
    """A filler, calls, something said while they run, an answer: what there is of it, in that order.

    The fields mean what they mean in a `Turn`. Without a fixed answer it is made from what the tools said.
    """

    how: How  # the user's words came
    said: str = ""
    filler: Answer | None = None
    calls: tuple[FunctionCall, ...] = ()
    meanwhile: Answer | None = None
    answer: Answer | None = None
    instead: Instead | None = None
    hold: Hold | None = None
    ending: Ending | None = None
    usage: UsageReports | None = None
    transcripts: Transcripts | None = None
    complete_reason: str | None = None
    strange: bool = False
    interrupted_late: bool = False
    withholds_handle: bool = False
    quiet_tools: bool = False

    @property
    def spoken(self) -> bool:
        """Whether it answers speech."""
        return self.how in {"spoken", "push_to_talk"}

    def answer_to(self, results: Sequence[JsonValue]) -> Answer:
        """What the model says once the tools have answered."""
        if self.answer is None:
            return Answer(sentence_about(results))
        return Answer(FAILED) if any(failed(result) for result in results) else self.answer

    def after(self, result: JsonValue, *, final: bool) -> "Plan":
        """What a tool that did not block gets when it answers: the answer, or a sentence about a partial result."""
        answer = self.answer_to([result]) if final else Answer(sentence_about([result]))
        return Plan("tool_response", answer=answer, instead=self.instead if final else None, usage=self.usage)


def plan_of_turn(turn: Turn, functions: Collection[str], how: How) -> Plan:
    """A scenario's turn; as a real model, it calls only what the client declared."""
    calls = tuple(call for call in turn.calls if call.name in functions)
    return Plan(
        how=how,
        said=turn.said,
        filler=turn.filler,
        calls=calls,
        meanwhile=turn.meanwhile if calls else None,
        answer=turn.answer,
        instead=turn.instead,
        hold=turn.hold,
        ending=turn.ending,
        usage=turn.usage,
        transcripts=turn.transcripts,
        complete_reason=turn.complete_reason,
        strange=turn.strange,
        interrupted_late=turn.interrupted_late,
        withholds_handle=turn.withholds_handle,
        quiet_tools=turn.quiet_tools,
    )


def plan_of_text(text: str, functions: Collection[str]) -> Plan:
    """What typed words get."""
    call = call_for(text, functions)
    return Plan("typed", answer=Answer(HELP)) if call is None else Plan("typed", calls=(call,))


def plan_of_greeting(greeting: Answer) -> Plan:
    """What the model says before anybody else does."""
    return Plan("none", answer=greeting)
