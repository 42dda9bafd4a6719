"""What the documentation says is what the code has."""

import json
import re
from enum import StrEnum
from pathlib import Path

import pytest
import yaml

from hazards import table
from support import one_session
from voicespan import conventions, events, operations, reference
from voicespan_server import protocol
from voicespan_server.access.refusal import REASONS
from voicespan_server.settings import Settings, variable_of
from voicespan_simulator.scenario_file import scenario_names

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"


def test_the_reference_of_names_is_the_generated_one() -> None:
    assert (DOCS / "conventions.md").read_text() == reference.reference_page(), "run: make docs"
    assert yaml.safe_load((DOCS / "registry.yaml").read_text()) == reference.registry(), "run: make docs"


@pytest.mark.parametrize(
    ("attribute", "values"),
    [
        (conventions.TURN_START_SOURCE, operations.StartSource),
        (conventions.TURN_END_REASON, operations.EndReason),
        (conventions.TURN_INTERRUPTION_CAUSE, operations.InterruptionCause),
        (conventions.TURN_STALL_KIND, operations.StallKind),
        (conventions.ANOMALY, operations.Anomaly),
        (conventions.TOOL_OUTCOME, events.ToolOutcome),
    ],
)
def test_the_reference_has_each_value_of_an_attribute_that_has_few(attribute: str, values: type[StrEnum]) -> None:
    assert {value.value for value in values} <= set(re.findall(r"\w+", conventions.ATTRIBUTES[attribute].brief))


def test_a_span_has_an_attribute_once_and_none_that_metrics_alone_have() -> None:
    for span in conventions.SPANS.values():
        assert len(set(span.attributes)) == len(span.attributes), span.name
        assert not {conventions.LATENCY_PART, conventions.AUDIO_DIRECTION} & set(span.attributes), span.name


def test_the_session_in_the_docs_is_what_the_library_tells() -> None:
    found = one_session.exported()
    assert json.loads((DOCS / "one-session.json").read_text()) == found, "run: make docs"
    assert (DOCS / "one-session.md").read_text() == one_session.page(found), "run: make docs"


def test_every_setting_is_described() -> None:
    page = (DOCS / "settings.md").read_text()
    for variable in map(variable_of, Settings.model_fields):
        assert f"`{variable}`" in page, variable


def test_every_default_that_is_a_number_or_a_switch_is_the_one_described() -> None:
    described: dict[str, str] = {}
    for line in (DOCS / "settings.md").read_text().splitlines():
        if line.startswith("| `"):
            first, second = line.split("|")[1:3]
            names = re.findall(r"`([A-Z_]+)`", first)
            described |= dict(zip(names, (value.strip(" `") for value in second.split(",")), strict=False))
    compared = 0
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, (bool, int, float)):
            assert json.loads(described[variable_of(name)]) == field.default, name
            compared += 1
    assert compared > 20


def test_every_close_code_and_client_message_is_described() -> None:
    page = (DOCS / "protocol.md").read_text()
    for code in protocol.CloseCode:
        assert f"| {code.value} |" in page
    for kind in protocol._KNOWN_TYPES:
        assert f"| `{kind}` |" in page


def test_every_message_the_server_sends_is_described() -> None:
    page = (DOCS / "protocol.md").read_text()
    sources = (REPOSITORY / "app/voicespan_server").glob("*.py")
    sent = {kind for source in sources for kind in re.findall(r'"type": "([a-z._]+)"', source.read_text())}
    assert len(sent) > 10
    for kind in sent:
        assert f"`{kind}`" in page or kind.startswith("websocket."), kind  # those are ASGI's


def test_every_warning_and_error_the_server_sends_is_described() -> None:
    page = (DOCS / "protocol.md").read_text().split("## Limits, warnings, errors")[1]
    text = "".join(source.read_text() for source in (REPOSITORY / "app/voicespan_server").rglob("*.py"))
    sent = set(re.findall(r'p\.(?:warning|error)\(\s*"([a-z_]+)"', text)) | set(
        re.findall(r'= CloseCode\.\w+, "(\w+)", ', text)
    )
    sent |= {reason.code for reason in REASONS if reason.close_code is not protocol.CloseCode.FORBIDDEN}
    assert {"input_dropped", "bad_message", "quota", "overloaded"} <= sent
    described = {name for row in re.findall(r"^\|(.*?)\|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert sent <= described


def test_every_hazard_has_scenarios_and_tests_that_there_are() -> None:
    known = table.hazards()
    assert [hazard.number for hazard in known] == [f"D{n}" for n in range(1, 21)]
    scenarios, tests = scenario_names(), table.places()
    for hazard in known:
        assert hazard.scenarios
        assert hazard.tests
        assert set(hazard.scenarios) <= set(scenarios), hazard.number
        assert set(hazard.tests) <= tests.keys(), hazard.number


def test_every_test_of_a_hazard_is_named_by_one() -> None:
    named = {test for hazard in table.hazards() for test in hazard.tests}
    there = {test for test, file in table.places().items() if file.endswith("test_hazards.py")}
    assert there <= named


PAGES = [REPOSITORY / "README.md", REPOSITORY / "examples/README.md", *sorted(DOCS.glob("*.md"))]


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", page.read_text()):
        there = page.parent / target if target else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_commands_and_files_that_are_named_are_there(page: Path) -> None:
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
    for path in re.findall(r"`((?:app|benchmarks|deploy|docs|examples|scripts|telemetry|tests)/[\w./-]+)`", text):
        assert (REPOSITORY / path).exists(), path
    for module in re.findall(r"python -m (benchmarks[\w.]*)", text):
        file = REPOSITORY / module.replace(".", "/")
        assert file.with_suffix(".py").exists() or (file / "__main__.py").exists(), module
