"""`make truth`: plays every scenario and says where what was told is not what was done. ARGS are names of cases.

Each is played twice: by a program that tells a session of its own, and by one that is instrumented.
"""

from __future__ import annotations

import os
import sys

from truth.acts import cases
from truth.play import play, play_fairly, play_instrumented, report
from voicespan_simulator.scenario_file import load_scenarios
from voicespan_simulator.voice import load_voice


def main(names: list[str]) -> int:
    os.environ["VOICESPAN_RAISE"] = "1"
    known = cases(load_scenarios(load_voice().clips))
    if unknown := set(names) - {case.name for case in known}:
        sys.exit(f"truth: no case {', '.join(sorted(unknown))}; there are {', '.join(case.name for case in known)}")
    chosen = [case for case in known if case.name in names or not names]
    played = play_fairly(chosen, print, play) + play_fairly(chosen, print, play_instrumented)
    return 1 if report(played, print) else 0


sys.exit(main(sys.argv[1:]))
