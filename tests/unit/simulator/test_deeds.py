"""The file of deeds."""

import json
from pathlib import Path

from voicespan_simulator.deeds import ConnectionDeed, DiaryFile, ExchangeDeed, UserDeed


def test_each_connection_is_a_line_of_json_and_a_file_is_appended_to(tmp_path: Path) -> None:
    file = tmp_path / "deeds.jsonl"
    for number in (1, 2):
        connection = ConnectionDeed(number, "caller", "developer", "plain", 5)
        connection.close("service", 1011, "Internal error encountered.")
        connection.close("client", 1000, "")  # the answer to it
        DiaryFile(file).write(connection)
    first, second = (json.loads(line) for line in file.read_text().splitlines())
    assert (first["connection"], second["connection"]) == (1, 2)
    assert {key: first["closed"][key] for key in ("by", "code", "reason", "lost")} == {
        "by": "service",
        "code": 1011,
        "reason": "Internal error encountered.",
        "lost": False,
    }


def test_a_connection_that_never_ends_is_kept_in_part() -> None:
    connection = ConnectionDeed(1, "caller", "developer", "plain", 5)
    for _ in range(1_003):
        connection.add(ExchangeDeed(UserDeed("typed")))
    assert (len(connection.exchanges), connection.exchanges_left_out) == (1_000, 3)
