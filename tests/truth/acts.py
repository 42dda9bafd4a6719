"""What the user and the program do in a call, in a line of words, and the calls that are played.

    SAY  speak (half a second of sound, then silence)      PTT  push to talk      OFF  speak, then the microphone off
    TYPE, LIVE  typed words, as client content or as realtime text (`TYPE:Hello` says which)
    PIC  a video frame       SHOW  typed words with a picture       SEED  history, to which no answer is expected
    OK1, ERR1, TIMEOUT1  answer the first call of the session. Behind it, for a tool that blocks nothing:
               `!` INTERRUPT, `~` WHEN_IDLE, `-` SILENT, and `+` where more will come (`OK1~+`)
    REDIAL  leave the connection and dial again by handle      STALL  wait until the library calls it a stall
    QUIET  wait until nothing comes any more      GRACE  wait until late usage would come too late
    (at the end the user hangs up)

All others wait for something to come, behind what was waited for before:

    I input transcript   A audio   T output transcript   GC generation complete   TC turn complete   TC+ in progress
    HALF the turn complete of a tool call, where the service closes that apart from the answer
    INT interrupted   CALL a tool call   CANCEL taken back   U usage alone   WAIT waiting for input
    GA goAway   CUT the connection ended   UP a connection was set up
"""

from __future__ import annotations

from dataclasses import dataclass

from voicespan_simulator.scenario import Scenario, Stop, Turn

# (vertex, model)
Service = tuple[bool, str]
DEVELOPER: Service = (False, "gemini-3.8-live")
VERTEX: Service = (True, "gemini-live-2.5-flash")
BOTH = (DEVELOPER, VERTEX)
EVERY = (
    *BOTH,
    (False, "gemini-3.1-flash-live-preview"),
    (False, "gemini-2.5-flash-native-audio-preview-09-2025"),
    (False, "gemini-2.5-flash-native-audio-latest"),
    (True, "gemini-live-2.5-flash-native-audio"),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A call: a scenario and what the user does in it. Without `by_hand` every tool is answered at once."""

    name: str
    scenario: str
    acts: str
    services: tuple[Service, ...] = BOTH
    by_hand: bool = False
    non_blocking: bool = False  # the tools are declared so
    push_to_talk: bool = False
    resumes: bool = False


def cases(scenarios: dict[str, Scenario]) -> list[Case]:
    """Every scenario in which a call begins, as written or as the table below has it, and further ways to play."""
    own = {case.scenario for case in CASES if case.name == case.scenario}
    written = [_as_written(scenario) for name, scenario in scenarios.items() if name not in own and scenario.begins]
    return written + list(CASES)


def _as_written(scenario: Scenario) -> Case:
    acts = ["TC"] if scenario.greeting else []
    held = False
    for turn in scenario.turns:
        acts.append("TYPE:Hello." if turn.typed else "SAY")
        acts += ["INT", "TC"] if held else []
        acts += _until(turn)
        held = turn.hold is not None
    services = EVERY if scenario.name in IN_EVERY_MODEL else BOTH
    resumes = any(turn.ending and not isinstance(turn.ending, Stop) for turn in scenario.turns)
    return Case(scenario.name, scenario.name, " ".join(acts), services, resumes=resumes)


def _until(turn: Turn) -> list[str]:
    """What a turn is waited for with."""
    if isinstance(turn.ending, Stop):
        return ["A", "STALL"]
    if turn.ending is not None and turn.ending.after_audio_messages is not None:
        return ["CUT", "UP"]
    if turn.hold is not None:
        return [{"start": "I", "generation": "A", "playback": "GC"}[turn.hold]]
    if turn.instead in {"mute", "deaf"}:
        return ["CALL", "STALL"] if turn.calls else ["STALL"]
    after = {"late": ["U"]}.get(turn.usage or "", []) + {"after_turn": ["T", "QUIET"]}.get(turn.transcripts or "", [])
    return ["TC", *after, *(["CUT", "UP"] if turn.ending else [])]


IN_EVERY_MODEL = {"plain", "one_tool", "barge_in", "second_thought", "spoken_over", "typed"}
NON_BLOCKING_2_5: Service = (False, "gemini-2.5-flash-native-audio-preview-09-2025")

# A turn that was cut short is played again, without its ending, once the connection is resumed.
_CLOSES = (
    "SAY CUT UP SAY TC  SAY TC CUT UP  SAY CALL CUT UP SAY CALL OK2 TC  SAY CUT UP SAY TC  SAY CUT UP SAY TC  SAY TC"
)

CASES = (
    # As written, but for what the tools do.
    Case(
        "non_blocking",
        "non_blocking",
        "SAY CALL GC OK1! INT TC TC  SAY CALL TC OK2~+ TC OK2~ TC  SAY CALL TC OK3- SAY TC",
        (*BOTH, NON_BLOCKING_2_5),
        by_hand=True,
        non_blocking=True,
    ),
    Case(
        "cancelled_tool", "cancelled_tool", "SAY CALL CALL OK1 CANCEL TC  SAY CALL OK3 CANCEL TC  SAY TC", by_hand=True
    ),
    Case("spoken_over", "spoken_over", "SAY CALL CALL SAY CANCEL INT TC TC OK1 OK2", EVERY, by_hand=True),
    Case("closes", "closes", _CLOSES, by_hand=True, resumes=True),
    Case("close_1007", "close_1007", "SAY TC CUT", resumes=True),
    Case("close_1008", "close_1008", "SAY CALL CUT", by_hand=True, resumes=True),
    Case("server_close", "server_close", "SAY CUT"),
    Case("abrupt_loss", "abrupt_loss", "SAY CUT UP SAY TC", resumes=True),
    Case("dead_connection", "dead_connection", "SAY TC CUT UP SAY STALL STALL REDIAL UP SAY TC", resumes=True),
    Case("refused_handle", "refused_handle", "SAY TC CUT CUT UP SAY TC", resumes=True),
    Case("unavailable", "unavailable", "SAY TC CUT CUT UP SAY TC", resumes=True),
    Case("go_away", "go_away", "SAY TC GA CUT UP SAY TC SAY TC", resumes=True),
    Case("go_away_in_tools", "go_away_in_tools", "SAY CALL GA OK1 TC CUT UP SAY TC", by_hand=True, resumes=True),
    Case("go_away_mid_answer", "go_away_mid_answer", "SAY GA TC CUT UP SAY TC", resumes=True),
    Case("usage_reports", "usage_reports", "SAY TC SAY TC GRACE SAY TC U SAY TC SAY TC", EVERY),
    Case("unnamed_calls", "unnamed_calls", "SAY CALL CALL OK2 OK1 TC SAY CALL OK3 TC", (VERTEX,), by_hand=True),
    Case("late_interruption", "late_interruption", "SAY TC SAY INT TC"),
    # Other ways to play a scenario.
    Case("one_tool_twice_answered_in_turn", "same_tool_twice", "SAY CALL CALL OK2 QUIET OK1 TC", by_hand=True),
    Case("push_to_talk", "plain", "PTT TC PTT TC", push_to_talk=True),
    Case("microphone_off", "plain", "OFF TC OFF TC"),
    Case("typed_by_rule", "plain", "LIVE:Hello. TC TYPE:Is_there_a_cafe? TC"),
    Case("typed_over", "barge_in", "SAY GC TYPE:Stop. INT TC TC"),
    Case("image_and_text", "plain", "SHOW:What_is_this? TC", EVERY),
    Case("image_and_voice", "plain", "PIC SAY TC", EVERY),
    Case("seeded", "typed", "SEED TYPE:Hello. TC", EVERY),
    Case("single_sample", "single_sample", "SAY TC SAY TC", EVERY),
    Case("interrupted_before_it_was_heard", "single_sample", "SAY A SAY INT TC TC", EVERY),
    Case("tool_times_out", "one_tool", "SAY CALL TIMEOUT1 TC", by_hand=True),
    Case("non_blocking_unanswered", "non_blocking", "SAY CALL GC SAY INT TC CALL TC", by_hand=True, non_blocking=True),
    Case("tool_fails", "one_tool", "SAY CALL ERR1 TC SAY CALL OK2 TC", by_hand=True),
    Case("tool_unanswered", "one_tool", "SAY CALL", EVERY, by_hand=True),
    Case("one_of_two_unanswered", "parallel_tools", "SAY CALL CALL OK2", by_hand=True),
    Case("hung_up_on", "barge_in", "SAY GC SAY INT TC A QUIET"),
    Case("hung_up_in_playback", "barge_in", "SAY GC"),
    Case("left_in_between", "go_away", "SAY TC GA REDIAL UP SAY TC", resumes=True),
)
