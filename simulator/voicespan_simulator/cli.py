"""`voicespan-simulator`: starts the simulator and tells where it is."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from voicespan_simulator.application import Simulation
from voicespan_simulator.deeds import Diary, DiaryFile, NoDiary
from voicespan_simulator.pace import Pace
from voicespan_simulator.scenario import Scenario
from voicespan_simulator.scenario_file import load_scenarios
from voicespan_simulator.server import NotLoopbackError, Ready, serve
from voicespan_simulator.toml_table import ScenarioError
from voicespan_simulator.voice import load_voice


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = _parser()
    options = parser.parse_args(arguments)
    voice = load_voice()
    try:
        scenarios = load_scenarios(voice.clips)
    except ScenarioError as error:
        parser.error(str(error))
    if options.list_scenarios:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head -1` ends it without a word, as it ends others
        for name, scenario in scenarios.items():
            print(f"{name:22}{scenario.description}")
        return
    if options.scenario not in scenarios:
        parser.error(f"no scenario {options.scenario!r}, only {', '.join(scenarios)}")

    def on_ready(ready: Ready) -> None:
        print(ready.to_json() if options.json else _banner(ready, scenarios[options.scenario]), flush=True)
        if options.ready_file is not None:
            _write_whole(options.ready_file, ready.to_json())

    try:
        diary: Diary = NoDiary() if options.deeds is None else DiaryFile(options.deeds)
        serve(
            Simulation(scenarios, options.scenario, voice, Pace(real=options.pace == "real"), diary),
            host=options.host,
            port=options.port,
            ca_file=options.ca_file,
            on_ready=on_ready,
            exit_with_stdin=options.exit_with_stdin,
        )
    except NotLoopbackError as error:
        parser.error(f"--host: {error}")
    except OSError as error:
        sys.exit(f"voicespan-simulator: {error}")
    # Only after a good run: what went wrong is written there.
    if options.remove_folder is not None:
        shutil.rmtree(options.remove_folder, ignore_errors=True)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is no port: 0 to 65535")
    return port


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="voicespan-simulator",
        description="A simulator of the Gemini Live API on loopback. It plays a script and recognises no speech.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=0, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--scenario", default="demo", help="what calls play by default (default: %(default)s)")
    parser.add_argument("--list-scenarios", action="store_true", help="list them and exit")
    parser.add_argument(
        "--pace", choices=("real", "fast"), default="real", help="fast waits for nothing, the order stays the same"
    )
    parser.add_argument("--ca-file", type=Path, metavar="PATH", help="where to write the certificate to trust, PEM")
    parser.add_argument("--ready-file", type=Path, metavar="PATH", help="written as JSON once connections are taken")
    parser.add_argument("--deeds", type=Path, metavar="PATH", help="append what was done, a JSON line per connection")
    parser.add_argument("--json", action="store_true", help="print that JSON in one line instead of a banner")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when stdin does, that is, with the parent")
    # For a parent that may be killed before it can clean up.
    parser.add_argument("--remove-folder", type=Path, metavar="PATH", help="a folder to remove at the end")
    return parser


def _banner(ready: Ready, scenario: Scenario) -> str:
    return f"""\
voicespan-simulator: this is a SIMULATOR of the Gemini Live API. It recognises no speech: it plays a script.
  base URL   {ready.base_url}
  trust      {ready.ca_file}
  scenario   {scenario.name}: {scenario.description}
Ctrl-C ends it."""


def _write_whole(path: Path, text: str) -> None:
    """Whoever waits for the file never reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    Path(name).replace(path)
