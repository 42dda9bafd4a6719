"""How time passes: as in a real call, or not at all."""

import asyncio
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """At fast pace nothing is waited for but what the user may do in between; the order stays the same."""

    real: bool

    async def wait(self, seconds: float) -> None:
        """Waits, or only lets others run."""
        await asyncio.sleep(max(0.0, seconds) if self.real else 0)

    async def hold(self, seconds: float) -> None:
        """The opposite: at fast pace, gives the user that long to interrupt, or to leave."""
        if not self.real:
            await asyncio.sleep(seconds)
