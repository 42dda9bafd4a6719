"""Which web pages may talk to this server. A browser says by `Origin` whose page it is that asks."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
ANY = "*"


# The pages of this machine, for CORS, which compares by pattern.
LOCAL_PATTERN = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"


class OriginError(ValueError):
    """What was written is no origin; the message says what one looks like."""


def is_loopback(host: str) -> bool:
    """Whether a host's name or address, without port, is this machine's own."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Origins:
    """An allow-list. An empty one allows pages of the server's own host, and of this machine.

    `local_only` is the open mode on loopback: there a request has to name this machine as its host. Else any page could
    give its own name this machine's address (DNS rebinding), and would be of the same host.
    """

    def __init__(self, allowed: Iterable[str], *, local_only: bool) -> None:
        self.written = tuple(allowed)
        self._allowed = frozenset(each if each == ANY else _canonical(each) for each in self.written)
        self._local_only = local_only

    def knows_host(self, host: str | None) -> bool:
        """Whether a request may be for this host (its `Host` header)."""
        return not self._local_only or host is None or is_loopback(_split_host(host)[0])

    def permits(self, origin: str | None, host: str | None) -> bool:
        """Whether a request for a host may come from there. Without an origin it is from no web page."""
        if origin is None or ANY in self._allowed:
            return True
        try:
            canonical = _canonical(origin)
        except OriginError:
            return False  # also `null`, which is the origin of nobody in particular
        if self._allowed:
            return canonical in self._allowed
        parts = urlsplit(canonical)
        if is_loopback(parts.hostname or ""):
            return True
        if host is None:
            return False
        name, port = _split_host(host)
        # The scheme is not compared: whoever ends TLS before this server is not known to it.
        return (name, port or DEFAULT_PORTS[parts.scheme]) == (parts.hostname, parts.port)


def _canonical(origin: str) -> str:
    """Lower case, and the port always there."""
    try:
        parts = urlsplit(origin)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        parts, port = urlsplit(""), None
    bare = f"{parts.scheme}://{parts.netloc}"
    if not parts.hostname or port is None or "@" in parts.netloc or origin.lower().rstrip("/") != bare.lower():
        raise OriginError(f"{origin[:100]!r} is no origin such as https://app.example.com")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


def _split_host(host: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname or "", parts.port
    except ValueError:
        return "", None
