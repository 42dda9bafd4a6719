"""What happens in a call, a line for each thing, as its caller sees it in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from voicespan_server.server_messages import (
    Error,
    Goodbye,
    Interrupted,
    Reconnecting,
    Resumed,
    ServerMessage,
    ToolStarted,
    Transcript,
    TurnCompleted,
    Warning,  # noqa: A004 - its name in the protocol
)


class Narrator:
    """Prints a call's messages as they come."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._speaker = ""

    def __call__(self, message: ServerMessage) -> None:
        """Print one of the server's messages."""
        match message:
            case Transcript(role=role, text=text) if text:
                speaker = "you  " if role == "user" else "model"
                if speaker != self._speaker:
                    self.end_line()
                    self._console.print(f"  [dim]{speaker}[/dim] ", end="")
                    self._speaker = speaker
                self._console.print(text, end="", markup=False, highlight=False)
            case ToolStarted(name=name):
                self._line(f"  [dim]tool [/dim] {name}")
            case Interrupted():
                self._line("  [yellow]-- you talk over the answer, which stops[/yellow]")
            case Reconnecting():
                self._line("  [dim]-- the connection to the model is made anew[/dim]")
            case Resumed():
                self._line("  [dim]-- it is there again[/dim]")
            case Warning(message=words):
                self._line(f"  [yellow]-- {escape(words)}[/yellow]")
            case Error(message=words):
                self._line(f"  [red]{escape(words)}[/red]")
            case TurnCompleted() | Goodbye():
                self.end_line()

    def _line(self, text: str) -> None:
        self.end_line()
        self._console.print(text)

    def end_line(self) -> None:
        """What comes next stands on a line of its own, also where the call broke off in a sentence."""
        if self._speaker:
            self._console.print()
            self._speaker = ""
