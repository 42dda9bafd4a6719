"""`make fuzz`: hostile clients, a hostile model and hostile HTTP, and in the last line what it came to."""

from __future__ import annotations

import argparse
import sys

from fuzz.play import SHARES, play


def main() -> int:
    """Play what was asked for."""
    parser = argparse.ArgumentParser(prog="fuzz", description="Mutated messages and requests against real servers.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(SHARES)}; all by default")
    parser.add_argument("--inputs", type=int, default=100_000, help="how many, all together (100,000)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (1)")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(SHARES):
        parser.error(f"no part {', '.join(sorted(unknown))}: use {', '.join(SHARES)}")
    verdict = play(arguments.parts or list(SHARES), arguments.inputs, arguments.seed)
    for kind, count in sorted(verdict.tally.outcomes.items()):
        print(f"{count:>8}  {kind}")
    for fault in verdict.tally.faults[:30]:
        print(f"FAULT {fault}")
    print(
        f"fuzz: {verdict.tally.inputs.total():,} inputs, {verdict.crashes} crashes, {verdict.leaked} leaked sessions"
        + (f", {len(verdict.tally.faults)} wrong answers" if verdict.tally.faults else "")
    )
    return 1 if verdict.tally.faults or verdict.crashes or verdict.leaked else 0


if __name__ == "__main__":
    sys.exit(main())
