"""Telemetry's own errors fail the tests instead of being swallowed."""

import os
from collections.abc import Generator
from typing import TypeVar

import pytest
from hypothesis import settings

from support.examples import examples

os.environ["VOICESPAN_RAISE"] = "1"

# How long an example takes says how busy the machine is.
settings.register_profile("voicespan", deadline=None, max_examples=examples(100))
settings.load_profile("voicespan")

# What is run only where somebody asks for it, by a variable of this prefix.
ASKED_FOR = "VOICESPAN_"
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With VOICESPAN_REQUIRE_ALL=1 a test that is skipped because something is missing has failed."""
    report = yield
    return _required(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for whole files."""
    report = yield
    return _required(report)


def _required(report: Report) -> Report:
    if report.outcome == "skipped" and os.environ.get("VOICESPAN_REQUIRE_ALL") == "1":
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if ASKED_FOR not in reason and not hasattr(report, "wasxfail"):
            report.outcome = "failed"
            report.longrepr = f"VOICESPAN_REQUIRE_ALL=1, and this was skipped: {reason}"
    return report
