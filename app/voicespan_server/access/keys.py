"""API keys: named secrets, of which only digests are kept."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator

MIN_SECRET_CHARACTERS = 16
_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# What can stand in an Authorization header behind `Bearer `.
_SECRET = re.compile(r"[\x21-\x7e]+")


class ApiKeysError(ValueError):
    """The keys cannot be understood; the message names no secret."""


class ApiKeys:
    """The keys of a server. An id may have several secrets: so a secret is changed without a gap."""

    def __init__(self, secrets: list[tuple[str, str]]) -> None:
        self._ids_by_digest: dict[bytes, str] = {}
        # By their numbers: whoever mixed up id and secret is not to find the secret in a log.
        for number, (key_id, secret) in enumerate(secrets, 1):
            if not secret or not _ID.fullmatch(key_id):
                raise ApiKeysError(
                    f"API key {number} is not id:secret, the id of 1 to 64 letters, digits, dots, dashes or underscores"
                )
            if len(secret) < MIN_SECRET_CHARACTERS or not _SECRET.fullmatch(secret):
                raise ApiKeysError(
                    f"the secret of API key {number} needs at least {MIN_SECRET_CHARACTERS} printable characters "
                    "without spaces: `openssl rand -hex 32` makes one"
                )
            if self._ids_by_digest.setdefault(_digest(secret), key_id) != key_id:
                raise ApiKeysError(f"API key {number} has the secret of another one")
        self._ids = frozenset(self._ids_by_digest.values())

    @classmethod
    def parse(cls, text: str) -> ApiKeys:
        """`id:secret`, several of them by commas or lines (`#` begins a comment), or a JSON object of the same.

        Raises:
            ApiKeysError: that it is not.
        """
        return cls(list(_json_pairs(text) if text.lstrip().startswith("{") else _line_pairs(text)))

    @property
    def ids(self) -> frozenset[str]:
        """The keys' names."""
        return self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._ids

    def identify(self, secret: str) -> str | None:
        """The id of the key that has this secret. Takes the same time whichever it is."""
        given = _digest(secret)
        found = None
        for digest, key_id in self._ids_by_digest.items():
            if hmac.compare_digest(digest, given):
                found = key_id
        return found

    def derived_secret(self) -> bytes:
        """A secret that every process with the same keys arrives at."""
        return hashlib.sha256(b"voicespan token secret\0" + b"".join(sorted(self._ids_by_digest))).digest()


def _digest(secret: str) -> bytes:
    # Secrets are long and random, not passwords: a slow hash would only slow down who is entitled.
    return hashlib.sha256(secret.encode()).digest()


def _line_pairs(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if line.strip().startswith("#"):
            continue
        for entry in filter(None, map(str.strip, line.split(","))):
            key_id, _, secret = entry.partition(":")
            yield key_id.strip(), secret.strip()


def _json_pairs(text: str) -> Iterator[tuple[str, str]]:
    try:
        found = json.loads(text)
    except ValueError:
        raise ApiKeysError('API keys that begin with { are JSON such as {"id": "secret"}') from None
    for key_id, secret in found.items():
        if not isinstance(secret, str):
            raise ApiKeysError('API keys in JSON are strings: {"id": "secret"}')
        yield key_id, secret
