"""How many examples a property is tried with: few while one works, all where VOICESPAN_REQUIRE_ALL=1."""

from __future__ import annotations

import os

THOROUGH = os.environ.get("VOICESPAN_REQUIRE_ALL") == "1"


def examples(thorough: int) -> int:
    """`thorough`, or a fifth of them."""
    return thorough if THOROUGH else max(5, thorough // 5)
