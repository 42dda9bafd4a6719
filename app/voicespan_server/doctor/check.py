"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from voicespan.redaction import without_password


class Outcome(StrEnum):
    """How it is. `WARN` serves, but not as somebody may think."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, without the passwords of URLs; `advice` says what to do where it is not well."""

    name: str
    outcome: Outcome
    found: str
    advice: str = ""


def ok(name: str, found: str) -> Check:
    """All is well."""
    return Check(name, Outcome.OK, without_password(found))


def warn(name: str, found: str, advice: str) -> Check:
    """It serves, but."""
    return Check(name, Outcome.WARN, without_password(found), advice)


def fail(name: str, found: str, advice: str) -> Check:
    """It will not work."""
    return Check(name, Outcome.FAIL, without_password(found), advice)
