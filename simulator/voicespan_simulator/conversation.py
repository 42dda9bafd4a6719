"""What a call has come to so far, and the handles by which another connection continues it."""

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field, replace

from voicespan_simulator.scenario import Resumption, Scenario, Turn
from voicespan_simulator.tokens import Tokens

_MOST_HANDLES = 10_000


@dataclass(slots=True)
class Conversation:
    """The state that a handle restores."""

    scenario: Scenario
    context: Tokens  # the prompt of the next model call
    next_turn: int = 0
    utterances: int = 0
    answers: int = 0
    ended_in: set[int] = field(default_factory=set)  # turns whose ending happened: once per call, also when resumed

    resumed_after: set[int] = field(default_factory=set)  # turns whose ending has had its bad resumption already

    @property
    def next(self) -> Turn:
        """The turn that the next words get."""
        turn = self.scenario.turn(self.next_turn)
        return replace(turn, ending=None) if self.next_turn in self.ended_in else turn

    def take_turn(self, *, spoken: bool = True) -> Turn:
        """The turn that answers the user's words; utterances are counted."""
        turn = self.next
        self.next_turn += 1
        self.utterances += spoken
        return turn

    def take_back_turn(self) -> None:
        """The utterance was not over yet: its continuation gets the same turn."""
        self.next_turn -= 1
        self.utterances -= 1

    def mark_ended(self) -> None:
        """The ending of the turn that was taken last happens now."""
        self.ended_in.add(self.next_turn - 1)

    def resumption(self) -> Resumption | None:
        """What becomes of a connection that continues this; but for a handle that is refused, once."""
        for index in self.ended_in - self.resumed_after:
            ending = self.scenario.turn(index).ending
            if ending is not None and ending.resumed in {"dead", "unavailable"}:
                self.resumed_after.add(index)
            if ending is not None and ending.resumed is not None:
                return ending.resumed
        return None


class Handles:
    """Resumption handles, in memory only; the oldest are forgotten."""

    def __init__(self, most: int = _MOST_HANDLES) -> None:
        self._most = most
        self._saved: OrderedDict[str, Conversation] = OrderedDict()

    def save(self, conversation: Conversation) -> str:
        """A handle for the conversation as it is now."""
        handle = secrets.token_urlsafe(32)
        self._saved[handle] = replace(conversation)  # a copy that shares the sets
        if len(self._saved) > self._most:
            self._saved.popitem(last=False)
        return handle

    def load(self, handle: str) -> Conversation | None:
        """The conversation that a handle stands for; it can be resumed more than once."""
        saved = self._saved.get(handle)
        return None if saved is None else replace(saved)
