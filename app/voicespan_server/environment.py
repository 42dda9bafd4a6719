"""The environment before the settings are read: the file `.env`, and secrets from files. Every command reads it."""

from __future__ import annotations

import os
from pathlib import Path

from dotenv import dotenv_values

# What may stand in a file, as Docker and Kubernetes mount secrets: NAME_FILE says where.
SECRETS = (
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "GOOGLE_MAPS_API_KEY",
    "LANGFUSE_PUBLIC_KEY",
    "LANGFUSE_SECRET_KEY",
    "VOICESPAN_API_KEYS",
    "VOICESPAN_TOKEN_SECRET",
)

_LIMITS = ("_COUNT_LIMIT", "_LENGTH_LIMIT")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class SettingsError(Exception):
    """A setting cannot be used; one line that names it and says what to do."""


def read_environment() -> None:
    """Complete this process's environment by `.env`, by the secrets' files, and by what no proxy is for.

    Not only our own variables: OpenTelemetry and Langfuse read theirs from the environment.

    Raises:
        SettingsError: `.env` or a secret's file cannot be read, or OpenTelemetry could not be imported with a value.
    """
    read_dotenv()
    _strip_settings()
    _read_secret_files()
    _spare_this_machine_the_proxy()
    _check_limits()
    _check_propagators()


def read_dotenv() -> None:
    """Put the variables of `.env` in the working directory into the environment, where they are unset or empty.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        found = dotenv_values(".env")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{Path('.env').absolute()} cannot be read: {_reason(error)}") from None
    for name, value in found.items():
        if value and not os.environ.get(name, "").strip():
            os.environ[name] = value


def _strip_settings() -> None:
    """The space around a value is none of it, and nothing but space is no value: pydantic strips text alone."""
    for name, value in list(os.environ.items()):
        if name.startswith("VOICESPAN_"):
            os.environ[name] = value.strip()


def _read_secret_files() -> None:
    for name in SECRETS:
        path = os.environ.get(f"{name}_FILE")
        if not path or os.environ.get(name):
            continue
        try:
            os.environ[name] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{name}_FILE: {path} cannot be read: {_reason(error)}") from None


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else "it is no text in UTF-8"


def _spare_this_machine_the_proxy() -> None:
    """No proxy has a way to this machine's loopback, where the simulator is, and mostly the server and the collector.

    What names proxies often forgets that. Every library here reads `no_proxy`, and before NO_PROXY.
    """
    spared = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = [host.strip() for host in spared.split(",") if host.strip()]
    if "*" not in hosts:
        os.environ["no_proxy"] = ",".join([*hosts, *(host for host in LOOPBACK if host not in hosts)])


def _check_limits() -> None:
    """OpenTelemetry's SDK reads limits when it is imported, and fails on what is none. An empty one is an unset one."""
    for name, value in list(os.environ.items()):
        if not (name.startswith("OTEL_") and name.endswith(_LIMITS)):
            continue
        if not value.strip():
            del os.environ[name]
        elif not value.strip().isdecimal():
            raise SettingsError(f"{name}={value!r} must be a whole number, 0 or more")


def _check_propagators() -> None:
    """OpenTelemetry's API looks its propagators up when it is imported, and fails on one that is not there."""
    asked = os.environ.get("OTEL_PROPAGATORS")
    if not asked:
        return
    from importlib.metadata import entry_points  # noqa: PLC0415 - hardly anybody asks

    known = entry_points(group="opentelemetry_propagator").names
    for name in (name.strip() for name in asked.split(",")):
        if name not in known and name.lower() != "none":
            found = ", ".join(sorted({*known, "none"}))
            raise SettingsError(f"OTEL_PROPAGATORS={asked!r}: there is no {name!r} here, but {found}")
