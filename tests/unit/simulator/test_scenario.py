from pathlib import Path

import pytest

from voicespan_simulator.scenario import GoAway, Loss
from voicespan_simulator.scenario_file import load_scenarios, read_scenario, scenario_names
from voicespan_simulator.toml_table import ScenarioError
from voicespan_simulator.voice import load_voice, seconds_of

GOOD = """
description = "A test."
[[turns]]
said = "Hello."
answer = { text = "Hi.", clip = "hi" }
"""


def test_the_scenarios_of_the_package_are_valid() -> None:
    scenarios = load_scenarios(load_voice().clips)
    assert (
        set(scenarios)
        == set(scenario_names())
        >= {*("plain", "one_tool", "parallel_tools", "barge_in", "go_away", "abrupt_loss", "demo")}
    )
    assert isinstance(scenarios["go_away"].turns[0].ending, GoAway)
    assert isinstance(scenarios["abrupt_loss"].turns[0].ending, Loss)


def test_the_demo_is_the_tour_with_a_long_answer_that_is_interrupted() -> None:
    voice = load_voice()
    turns = load_scenarios(voice.clips)["demo"].turns
    assert [(call.name, call.args) for turn in turns for call in turn.calls] == [
        ("navigate_to_location", {"destination": "Helsinki Cathedral"}),
        ("search_nearby", {"query": "cafe", "radius_m": 800}),
    ]
    assert turns[2].hold == "playback"
    assert seconds_of(len(voice.speak(turns[2].answer))) >= 7


def test_behind_its_end_a_scenario_repeats_the_last_turn_without_its_ending(tmp_path: Path) -> None:
    ending = '[turns.ending]\nkind = "loss"\n'
    scenario = read_scenario(_written(tmp_path, GOOD + ending), {"hi"})
    assert scenario.turn(0).ending == Loss()
    assert scenario.turn(7).ending is None
    assert scenario.turn(7).answer == scenario.turn(0).answer


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("turns = ", "mine.toml: not TOML"),
        ('description = "A test."', "mine.toml: turns: at least one"),
        (GOOD.replace('said = "Hello."', ""), "mine.toml: turns[0].said: a text is needed, not None"),
        (GOOD.replace('said = "Hello."', "said = 3"), "mine.toml: turns[0].said: a text is needed, not 3"),
        (GOOD.replace('clip = "hi"', 'clip = "ho"'), "mine.toml: turns[0].answer.clip: there is no clip 'ho', only hi"),
        (GOOD.replace("answer =", "reply ="), "mine.toml: turns[0].answer: a table with text is needed"),
        (GOOD + 'color = "red"', "mine.toml: turns[0].color: unknown key"),
        (
            GOOD + 'hold = "ever"',
            "mine.toml: turns[0].hold: one of start, first_audio, generation, playback is needed, not 'ever'",
        ),
        (GOOD + "calls = [{ args = {} }]", "mine.toml: turns[0].calls[0].name: a text is needed"),
        (GOOD + 'calls = [{ name = "f", args = { at = 1979-05-27 } }]', "mine.toml: turns[0].calls[0].args: not JSON"),
        (GOOD + 'instead = "mute"', "mine.toml: turns[0].answer: a table with text is needed, or `instead`"),
        (GOOD + 'instead = "sleep"', "mine.toml: turns[0].instead: one of waiting, empty, mute, deaf is needed"),
        (GOOD + 'meanwhile = { text = "Wait." }', "mine.toml: turns[0].meanwhile: it is said while tools run"),
        (GOOD + 'typed = "yes"', "mine.toml: turns[0].typed: true or false is needed, not 'yes'"),
        (GOOD + 'usage = "wrong"', "mine.toml: turns[0].usage: one of missing, late, audio_uncounted is needed"),
        (GOOD + 'transcripts = "never"', "mine.toml: turns[0].transcripts: one of late, after_turn is needed"),
        (GOOD + 'calls = [{ name = "f", cancel = "now" }]', "calls[0].cancel: one of before_answer, after_answer"),
        (GOOD + 'filler = { clip = "hi" }', "mine.toml: turns[0].filler.text: a text is needed"),
        (
            GOOD + 'ending = { kind = "loss", resumed = "late" }',
            "ending.resumed: one of refused, unavailable, dead is",
        ),
        ("refusal = { status = 200 }" + GOOD, "mine.toml: refusal.status: an HTTP status of an error is needed"),
        ('setup = "slow"' + GOOD, "mine.toml: setup: one of mute, error is needed"),
        (GOOD.replace('clip = "hi"', "heard = 0"), "mine.toml: turns[0].answer.heard: a share of the audio is needed"),
        (GOOD + 'ending = { kind = "stop" }', "ending.after_audio_messages: what stops stops in mid-answer"),
        (
            GOOD + 'ending = { kind = "loss", in_tools = true, after_audio_messages = 1 }',
            "mine.toml: turns[0].ending.in_tools: it happens once",
        ),
        (GOOD + 'ending = { kind = "nap" }', "mine.toml: turns[0].ending.kind: one of go_away, close, loss, stop"),
        (GOOD + 'ending = { kind = "go_away" }', "mine.toml: turns[0].ending.time_left_s: a number of at least 0"),
        (GOOD + 'ending = { kind = "loss", after_audio_messages = 0.5 }', "after_audio_messages: a whole number"),
        (GOOD + 'ending = { kind = "close", code = 7, reason = "x" }', "mine.toml: turns[0].ending.code: a close code"),
    ],
)
def test_an_error_names_the_file_and_the_key(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ScenarioError) as error:
        read_scenario(_written(tmp_path, text), {"hi"})
    assert problem in str(error.value)


def _written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    return file
