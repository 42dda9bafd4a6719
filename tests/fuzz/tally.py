"""What was sent and what came of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

MOST_FAULTS = 200


@dataclass(slots=True)
class Tally:
    """Inputs by kind, outcomes by name, and what must not be: the input comes with the fault."""

    inputs: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def note(self, kind: str, outcome: str) -> None:
        """An input and how it was answered."""
        self.inputs[kind] += 1
        self.outcomes[f"{kind}: {outcome}"] += 1

    def fault(self, what: str, sent: object = "") -> None:
        """An answer that nobody may give."""
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(f"{what}: {str(sent)[:600]}")
