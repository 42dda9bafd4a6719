"""What a server needs, looked at one by one: by real requests where there is somebody to ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from voicespan_server.doctor import clock, local, remote
from voicespan_server.doctor.check import Check, Outcome, fail
from voicespan_server.settings import SettingsError, load_settings

__all__ = ["Check", "Outcome", "examine"]


def examine(environ: Mapping[str, str], **overrides: object) -> list[Check]:
    """All checks, in the order in which a server would need them. Takes as long as the slowest answer.

    Where the settings cannot be used the rest of it is not looked at: it would be about another server.
    """
    try:
        settings = load_settings(**overrides)
    except SettingsError as error:
        return [fail("settings", str(error), "set it right, in the environment or in .env: docs/settings.md")]
    checks: list[Callable[[], Check]] = [
        lambda: local.settings_hold(settings, environ),
        lambda: local.access(settings),
        lambda: remote.model(settings, environ),
        lambda: local.port(settings),
        lambda: local.store(settings),
        lambda: remote.collector(environ),
        lambda: remote.langfuse(settings, environ),
        lambda: clock.compared(clock.addresses(settings, environ)),
        lambda: local.content(environ),
    ]
    with ThreadPoolExecutor(len(checks)) as threads:
        return list(threads.map(lambda check: check(), checks))
