"""A Langfuse project gets configurations of our scores and a dashboard, once, and keeps what is its owner's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from deploy.langfuse.__main__ import main
from deploy.langfuse.project import DASHBOARD, FEEDBACK, SCORE_CONFIGS, WIDGETS

from support.langfuse_project import LangfuseProject
from support.langfuse_sink import LangfuseSink
from voicespan.session_scores import COMPLETION, INTERRUPTION_RATE, RESPONSIVENESS, TOOL_SUCCESS

THINGS = len(SCORE_CONFIGS) + len(WIDGETS) + 1


@pytest.fixture
def langfuse() -> Iterator[LangfuseSink]:
    with LangfuseSink() as sink:
        sink.api.project.page_size = 3  # the lists have several pages
        yield sink


@pytest.fixture
def project(langfuse: LangfuseSink) -> LangfuseProject:
    return langfuse.api.project


@pytest.fixture
def environ(langfuse: LangfuseSink) -> dict[str, str]:
    return {
        "LANGFUSE_PUBLIC_KEY": langfuse.public_key,
        "LANGFUSE_SECRET_KEY": langfuse.secret_key,
        "LANGFUSE_BASE_URL": langfuse.base_url,
    }


def test_an_empty_project_gets_all_of_it(
    project: LangfuseProject, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(environ) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"setup-langfuse: {THINGS} things, {THINGS} changed"
    configs = {
        each["name"]: (each["dataType"], each["minValue"], each["maxValue"]) for each in project.score_configs.values()
    }
    scores = {RESPONSIVENESS, TOOL_SUCCESS, INTERRUPTION_RATE, COMPLETION, FEEDBACK}
    assert configs == dict.fromkeys(scores, ("NUMERIC", 0.0, 1.0))
    assert [each["name"] for each in project.widgets.values()] == [widget.name for widget in WIDGETS]
    [dashboard] = project.dashboards.values()
    assert dashboard["name"] == DASHBOARD
    tiles = dashboard["definition"]["widgets"]
    assert [tile["widgetId"] for tile in tiles] == list(project.widgets)
    assert len({(tile["x"], tile["y"]) for tile in tiles}) == len(tiles)


def test_a_second_time_changes_nothing(
    project: LangfuseProject, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    main(environ)
    assert project.writes == THINGS
    capsys.readouterr()
    assert main(environ) == 0
    assert project.writes == THINGS
    lines = capsys.readouterr().out.splitlines()
    assert lines.pop() == f"setup-langfuse: {THINGS} things, 0 changed"
    assert {line.split()[0] for line in lines} == {"unchanged"}


def test_what_was_bent_is_set_back_and_what_is_the_owners_stays(
    project: LangfuseProject, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    project.widgets["mine"] = {**WIDGET, "name": "Mine"}
    main(environ)
    config, widget, dashboard = (
        next(iter(project.score_configs.values())),
        next(each for each in project.widgets.values() if each["name"] == WIDGETS[2].name),
        next(iter(project.dashboards.values())),
    )
    config["maxValue"] = 5.0
    widget["filters"] = []
    dashboard["definition"]["widgets"].pop()
    capsys.readouterr()
    main(environ)
    changed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("changed")]
    assert changed == [
        f"changed   score configuration {config['name']}",
        f"changed   widget {WIDGETS[2].name}",
        f"changed   dashboard {DASHBOARD}",
    ]
    assert project.score_configs[config["id"]]["maxValue"] == 1.0
    assert project.widgets[widget["id"]]["filters"] != []
    assert len(project.dashboards[dashboard["id"]]["definition"]["widgets"]) == len(WIDGETS)
    assert project.widgets["mine"] == {**WIDGET, "name": "Mine"}


def test_wrong_keys_and_missing_ones_are_told(environ: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main({**environ, "LANGFUSE_SECRET_KEY": "sk-lf-wrong"}) == 1
    assert "answered 401" in capsys.readouterr().err
    assert main({"LANGFUSE_BASE_URL": environ["LANGFUSE_BASE_URL"]}) == 2
    assert capsys.readouterr().err == "setup-langfuse: set LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY\n"


def test_a_langfuse_that_is_not_there_is_told(
    langfuse: LangfuseSink, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    langfuse.stop()
    assert main(environ) == 1
    assert "cannot be reached" in capsys.readouterr().err


def test_what_langfuse_refuses_is_told(
    langfuse: LangfuseSink, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    langfuse.fail_next_api(403)
    assert main(environ) == 1
    assert "answered 403" in capsys.readouterr().err


WIDGET = {
    "id": "mine",
    "createdAt": "2026-01-01T00:00:00Z",
    "updatedAt": "2026-01-01T00:00:00Z",
    "description": "",
    "view": "traces",  # a legacy one: it is listed, too
    "dimensions": [],
    "metrics": [],
    "filters": [],
    "chartType": "NUMBER",
    "chartConfig": {"type": "NUMBER"},
}
