"""The public API is what the page says it is."""

import re
from pathlib import Path

import voicespan
from voicespan import events as ev
from voicespan.live_settings import LiveSettings
from voicespan.session import VoiceSession

DOCS = Path(__file__).parents[3] / "docs"


def test_every_public_name_is_described_and_no_other() -> None:
    table = (DOCS / "api.md").read_text().split("| name | |")[1].split("\n\n")[0]
    described = {name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert described == set(voicespan.__all__)
    assert all(hasattr(voicespan, name) for name in voicespan.__all__)


def test_what_the_page_says_of_a_session_is_there() -> None:
    [row] = [line for line in (DOCS / "api.md").read_text().splitlines() if line.startswith("| `VoiceSession`")]
    for name in re.findall(r"`(\w+)`", row.split("|")[2]):
        assert hasattr(VoiceSession, name), name


def test_the_events_of_the_page_are_there() -> None:
    page = (DOCS / "api.md").read_text()
    for name in re.findall(r"ev\.(\w+)", page):
        assert hasattr(ev, name), name


def test_every_variable_of_the_instrumentation_is_described() -> None:
    page = (DOCS / "instrumentation.md").read_text()
    source = Path(LiveSettings.__module__.replace(".", "/") + ".py")
    code = (DOCS.parent / "telemetry" / source).read_text()
    variables = set(re.findall(r"VOICESPAN_[A-Z_]+", code))
    assert len(variables) >= 7
    for name in variables:
        assert f"`{name}`" in page, name
