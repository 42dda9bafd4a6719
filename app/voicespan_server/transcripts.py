"""The words of both sides as the client is told of them: pieces, and a last one that says that no more will come.

Only Vertex marks a transcript's end. Elsewhere the user's words are complete when the model begins to answer, and the
model's when it has generated its answer or was interrupted; words that come later all the same are told all the same.
"""

from __future__ import annotations

from typing import Literal

from voicespan_server.protocol import Message

Role = Literal["user", "assistant"]


class Transcripts:
    """The words that are being said: at most one utterance of each side is open."""

    def __init__(self) -> None:
        self._open: dict[Role, int] = {}

    def piece(self, role: Role, text: str, turn: int) -> list[Message]:
        """More words of a side, in a turn."""
        before = self.complete(role) if self._open.get(role, turn) != turn else []
        self._open[role] = turn
        return [*before, _message(role, text, turn, final=False)]

    def complete(self, role: Role) -> list[Message]:
        """A side has said all it says, if it said anything."""
        turn = self._open.pop(role, None)
        return [] if turn is None else [_message(role, "", turn, final=True)]


def _message(role: Role, text: str, turn: int, *, final: bool) -> Message:
    return {"type": "transcript", "role": role, "text": text, "turn": turn, "final": final}
