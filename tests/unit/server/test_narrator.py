"""A call's messages as lines in a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from voicespan_server.narrator import Narrator
from voicespan_server.server_messages import ToolStarted, Transcript, TurnCompleted


def piece(text: str) -> Transcript:
    return Transcript(type="transcript", role="assistant", text=text, turn=1)


def test_pieces_are_a_line_and_what_breaks_off_ends_its_line() -> None:
    written = io.StringIO()
    narrator = Narrator(Console(file=written, width=80))
    narrator(piece("Take the "))
    narrator(piece("tram."))
    narrator(TurnCompleted(type="turn.completed", turn=1, reason="completed"))
    narrator(ToolStarted(type="tool.started", id="1", name="search_nearby"))
    narrator(piece("There is"))
    narrator.end_line()
    narrator.end_line()
    assert written.getvalue() == "  model Take the tram.\n  tool  search_nearby\n  model There is\n"
