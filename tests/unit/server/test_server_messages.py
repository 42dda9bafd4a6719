"""What a client understands of a server's text frames."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from voicespan_server import protocol as p
from voicespan_server import server_messages as m

PAGE = Path(__file__).parents[3] / "docs" / "protocol.md"
LIMITS = {"max_frame_bytes": 32_768, "idle_s": 60.0, "max_s": 1800.0}


def read(**fields: object) -> m.ServerMessage:
    return m.parse_server_message(json.dumps(fields))


def test_ready_as_the_server_builds_it() -> None:
    told = p.Ready("s-1", "a" * 32, "gemini", "manual", dict(LIMITS), resume_token="t-1", resumed=True)
    ready = m.parse_server_message(p.encode(told.message(restored=True)))
    assert isinstance(ready, m.Ready)
    assert ready.input.turns == "manual"
    assert ready.resume == m.Resume(token="t-1")
    assert (ready.resumed, ready.restored) == (True, True)
    assert (ready.session_id, ready.model, ready.output.rate) == ("s-1", "gemini", p.OUTPUT_RATE_HZ)
    assert ready.limits.max_frame_bytes == 32_768


def test_an_error_as_the_server_builds_it() -> None:
    told = m.parse_server_message(p.encode(p.error("overloaded", "too many calls", retryable=True)))
    assert isinstance(told, m.Error)
    assert (told.code, told.retryable) == ("overloaded", True)


def test_a_turn_that_nobody_measured_has_no_times_and_no_tokens() -> None:
    turn = read(type="turn.completed", turn=1, reason="completed", usage=None, metrics={})
    assert isinstance(turn, m.TurnCompleted)
    assert turn.usage is None
    assert turn.metrics.time_to_first_audio_ms is None


def test_what_a_later_version_adds_is_ignored() -> None:
    assert read(type="interrupted", turn=2, why="new") == m.Interrupted(type="interrupted", turn=2)
    later = read(type="hologram", depth=3)
    assert isinstance(later, m.Unrecognised)
    assert later.type == "hologram"


@pytest.mark.parametrize("number", [2**53 + 1, 1.5])
def test_a_pong_has_the_number_of_its_ping(number: float) -> None:
    pong = read(type="pong", t=number)
    assert isinstance(pong, m.Pong)
    assert pong.t == number


@pytest.mark.parametrize("frame", ["{", "[]", "null", '{"type": 3}', '{"type": "interrupted"}', "[" * 100_000])
def test_what_is_no_message_is_refused(frame: str) -> None:
    with pytest.raises(m.UnreadableMessage):
        m.parse_server_message(frame)


def test_every_message_of_the_page_has_a_type_here() -> None:
    section = PAGE.read_text().split("## The server's messages")[1].split("## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`([a-z_.]+)`", row)}
    known = {
        kind.model_fields["type"].annotation.__args__[0]  # type: ignore[union-attr]
        for kind in m.ServerMessage.__subclasses__()
        if kind is not m.Unrecognised
    }
    assert documented == known
