"""`make hazards`: runs the tests that docs/hazards.md names and prints its table with outcomes. ARGS are numbers."""

from __future__ import annotations

import sys
from collections import Counter

import pytest
from rich.console import Console
from rich.table import Table

from hazards.table import Hazard, hazards, places


class Outcomes:
    """A pytest plugin that counts the outcomes of each test function."""

    def __init__(self) -> None:
        self.by_test: dict[str, Counter[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.partition("::test_")[2].partition("[")[0]
        if report.when == "call" or report.outcome != "passed":
            self.by_test.setdefault(name, Counter())[report.outcome] += 1

    def of(self, hazard: Hazard) -> str:
        """`holds` where each of its tests passed, in all of its variants."""
        counts = [self.by_test.get(name, Counter()) for name in hazard.tests]
        if all(count["passed"] and count.total() == count["passed"] for count in counts):
            return "holds"
        return "does not hold" if any(count["failed"] for count in counts) else "not run"


def main(numbers: list[str]) -> int:
    """The exit code: 0 where the server holds against all that were chosen."""
    known = hazards()
    if unknown := set(numbers) - {hazard.number for hazard in known}:
        sys.exit(f"hazards: no {', '.join(sorted(unknown))}; there are {known[0].number} to {known[-1].number}")
    chosen = [hazard for hazard in known if hazard.number in numbers or not numbers]
    files = places()
    tests = [f"{files[name]}::test_{name}" for hazard in chosen for name in hazard.tests]
    outcomes = Outcomes()
    pytest.main(["-q", "--no-header", "--tb=short", *dict.fromkeys(tests)], plugins=[outcomes])
    found = {hazard.number: outcomes.of(hazard) for hazard in chosen}
    table = Table("#", "hazard", "scenarios", "tests", "outcome", expand=True)
    for hazard in chosen:
        runs = sum(outcomes.by_test.get(name, Counter()).total() for name in hazard.tests)
        table.add_row(hazard.number, hazard.what, ", ".join(hazard.scenarios), str(runs), found[hazard.number])
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    held = sum(outcome == "holds" for outcome in found.values())
    print(f"hazards: {held} of {len(chosen)}")
    return 0 if held == len(chosen) else 1


sys.exit(main(sys.argv[1:]))
