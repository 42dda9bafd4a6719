"""The table of docs/hazards.md, and the tests that it names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "hazards.md"
# Where they stand.
FILES = (
    "tests/integration/server/test_hazards.py",
    "tests/e2e/test_lost_clients.py",
    "tests/e2e/test_resume.py",
    "tests/unit/server/test_origins.py",
)


@dataclass(frozen=True, slots=True)
class Hazard:
    """A row: its tests are functions, without `test_` in front."""

    number: str
    what: str
    scenarios: tuple[str, ...]
    tests: tuple[str, ...]


def hazards() -> list[Hazard]:
    """All rows, in their order."""
    rows = [line.split(" | ") for line in PAGE.read_text().splitlines() if re.match(r"\| D\d", line)]
    return [
        Hazard(number.removeprefix("| "), what, _listed(scenarios), _listed(tests.removesuffix(" |")))
        for number, what, _, scenarios, tests in rows
    ]


def _listed(cell: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in cell.split(","))


def places() -> dict[str, str]:
    """The file of every test there is in `FILES`, by its name without `test_`."""
    found = {}
    for file in FILES:
        for name in re.findall(r"^(?:async )?def test_(\w+)", (REPOSITORY / file).read_text(), flags=re.MULTILINE):
            found[name] = file
    return found
