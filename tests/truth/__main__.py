"""`make truth`: plays every scenario and says where what was told is not what was done. ARGS are names of cases."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

from truth.acts import Case, cases
from truth.play import Played, play, report
from voicespan_simulator.scenario_file import load_scenarios
from voicespan_simulator.voice import load_voice


def main(names: list[str]) -> int:
    os.environ["VOICESPAN_RAISE"] = "1"
    known = cases(load_scenarios(load_voice().clips))
    if unknown := set(names) - {case.name for case in known}:
        sys.exit(f"truth: no case {', '.join(sorted(unknown))}; there are {', '.join(case.name for case in known)}")
    played = play([case for case in known if case.name in names or not names])
    # Two processes' clocks are compared, on a machine that may be busy: what is late alone has to be late again.
    again = [one for one in played if one.only_clocks]
    if again:
        print(f"truth: {len(again)} played once more, one at a time: only clocks differed")
        late = {one.name: one for one in play([_only(one) for one in again], at_a_time=1)}
        played = [late.get(one.name, one) for one in played]
    return 1 if report(played, print) else 0


def _only(one: Played) -> Case:
    return replace(one.case, services=(one.service,))


sys.exit(main(sys.argv[1:]))
