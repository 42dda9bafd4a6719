"""The public API is what the page says it is."""

import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import voicespan
from support.received import render_tree
from support.telling import Recorder, named
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


def test_every_event_that_a_program_tells_is_described_and_no_other() -> None:
    table = (DOCS / "api.md").read_text().split("| event | feed it when |")[1].split("\n\n")[0]
    described = {name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert described == {kind.__name__ for kind in get_args(ev.Event)} - {"EndOfSpeech", "SessionClosed", "Tick"}


def test_the_pages_session_with_another_provider_makes_its_spans() -> None:
    page = (DOCS / "api.md").read_text().split("## Another provider")[1]
    [program] = re.findall(r"```python\n(.*?)```", page.split("## Extras")[0], re.DOTALL)
    recorder = Recorder()
    providers = voicespan.Providers(recorder.provider, recorder.meter_provider, recorder.logger_provider)
    public = {name: getattr(voicespan, name) for name in voicespan.__all__}
    library = SimpleNamespace(**public | {"start_session": partial(voicespan.start_session, providers=providers)})
    exec(program, {"voicespan": library, "ev": ev, "pcm": bytes(4800)})
    assert render_tree(recorder.spans()) == "WebSocket Session\n  Live Connection 1\n  Turn 1"
    turn = named(recorder.spans(), "Turn 1").attributes
    assert (turn["gen_ai.provider.name"], turn["gen_ai.request.model"]) == ("openai", "gpt-realtime")
    assert (turn["gen_ai.usage.input_tokens"], turn["voicespan.turn.end_reason"]) == (30, "completed")
    assert turn["voicespan.audio.input_duration"] == 0.1


def test_every_variable_of_the_instrumentation_is_described() -> None:
    page = (DOCS / "instrumentation.md").read_text()
    source = Path(LiveSettings.__module__.replace(".", "/") + ".py")
    code = (DOCS.parent / "telemetry" / source).read_text()
    variables = set(re.findall(r"VOICESPAN_[A-Z_]+", code))
    assert len(variables) >= 7
    for name in variables:
        assert f"`{name}`" in page, name
