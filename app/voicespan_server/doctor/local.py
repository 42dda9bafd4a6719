"""What can be looked at without leaving the machine: settings, the port, the store's disk, what is captured."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from voicespan.content import CAPTURE_VARIABLE, capture_from_environment
from voicespan.sdk import maintenance
from voicespan.sdk.database import StoreError
from voicespan_server.access.door import Door
from voicespan_server.doctor.check import Check, fail, ok, warn
from voicespan_server.settings import PREFIX, Settings, SettingsError, variable_of

# Below it SQLite's own log may not fit while a checkpoint waits.
LEAST_FREE_MB = 64
# Variables of Voicespan's that are no setting of the server's.
OTHERS = {"API_KEY", "API_KEYS_FILE", "TOKEN_SECRET_FILE", "SESSION_PARENT", "RESUME_WINDOW_S", "RAISE"}
# How like a setting's name another has to be to be meant for it: PROT and PORT are as much.
ALIKE = 0.75


def settings_hold(settings: Settings, environ: Mapping[str, str]) -> Check:
    """They could be read, or this would not have been reached; a name that was mistyped is read by nobody."""
    found = f"{settings.model} by {settings.chosen_backend}"
    known = {variable_of(name).removeprefix(PREFIX) for name in Settings.model_fields} | OTHERS
    for variable in sorted(environ):
        name = variable.removeprefix(PREFIX)
        if name != variable and name not in known and (meant := get_close_matches(name, known, 1, ALIKE)):
            return warn(
                "settings", f"{found}; {variable} is no setting", f"{PREFIX}{meant[0]} is one: docs/settings.md"
            )
    return ok("settings", found)


def access(settings: Settings) -> Check:
    """Who may call."""
    try:
        door = Door(settings)
    except SettingsError as error:
        return fail("access", str(error), "see docs/security.md")
    if door.open:
        return ok("access", f"open to this machine, on {settings.host} alone: no VOICESPAN_API_KEYS")
    return ok("access", f"by API key, of which there are {len(door.keys)}")


def port(settings: Settings) -> Check:
    """Whether the server could listen, or does already."""
    where = f"{settings.host} port {settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[
            0
        ]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if running := _voicespan_at(settings):
            return ok("port", f"{where}: Voicespan {running} serves there")
        return fail(
            "port",
            f"{where}: {error.strerror or error}",
            "stop what listens there (ss -ltnp names it), or choose another by VOICESPAN_PORT or --port",
        )
    return ok("port", f"{where} is free")


def _voicespan_at(settings: Settings) -> str | None:
    try:
        with urllib.request.urlopen(f"{settings.address}/healthz", timeout=2) as answer:
            told = json.load(answer)
    except (OSError, ValueError, urllib.error.URLError):
        return None
    return str(told["version"]) if isinstance(told, dict) and "backend" in told and "version" in told else None


def store(settings: Settings) -> Check:
    """Whether the store's file can be written, and for how long."""
    if settings.store == "off":
        return ok("store", "off: traces wait in memory")
    path = settings.store_path
    folder = _nearest_folder(path)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(13, "Permission denied")
        free_mb = shutil.disk_usage(folder).free >> 20
    except OSError as error:
        return fail(
            "store",
            f"{path} cannot be written ({error.strerror or error}): traces would be kept in memory",
            f"make {folder} writable for this user, or set VOICESPAN_STORE_PATH; VOICESPAN_STORE=off keeps none",
        )
    found = f"{path}, {free_mb:,} MB free"
    if free_mb < LEAST_FREE_MB:
        return fail("store", found, "make room on that disk, or set VOICESPAN_STORE_PATH to another")
    if free_mb < settings.store_max_mb:
        return warn("store", found, f"it may grow to {settings.store_max_mb} MB: make room, or VOICESPAN_STORE_MAX_MB")
    return _refused_of(path, found)


def _refused_of(path: Path, found: str) -> Check:
    if not path.exists():
        return ok("store", found)
    try:
        status = maintenance.status(path)
    except (StoreError, FileNotFoundError) as error:
        return fail("store", str(error), "move that file away, or set VOICESPAN_STORE_PATH to another")
    if status.rejected:
        return warn("store", f"{found}, {status.rejected} records were refused", "see: voicespan store rejected")
    return ok("store", found)


def _nearest_folder(path: Path) -> Path:
    """The folder in which the store's folder would be made, where it is not there yet."""
    return next(folder for folder in path.absolute().parents if folder.exists())


def content(environ: Mapping[str, str]) -> Check:
    """Whether words are recorded: off is as it should be, and not what somebody expects who looks for them."""
    wanted = environ.get(CAPTURE_VARIABLE, "").strip()
    if wanted.upper() in {"", "NO_CONTENT"}:
        return ok("content", f"no words are recorded ({CAPTURE_VARIABLE}={wanted or 'NO_CONTENT'})")
    if not capture_from_environment(environ).anywhere:
        return warn(
            "content",
            f"{CAPTURE_VARIABLE}={wanted} is no mode, so no words are recorded",
            "set NO_CONTENT, SPAN_ONLY, EVENT_ONLY or SPAN_AND_EVENT",
        )
    return ok("content", f"words are recorded ({CAPTURE_VARIABLE}={wanted})")
