"""Session tokens: what a browser gets in place of an API key, signed and short-lived.

    base64url(JSON) "." base64url(HMAC-SHA256 of the first part)

Nothing is stored for one: every process that has the secret can check it. Its characters are those that may stand in
a WebSocket subprotocol.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
from dataclasses import dataclass

from voicespan_server.protocol import MAX_TOKEN_CHARACTERS

# By how much the clocks of two servers may differ.
SKEW_S = 10


class TokenError(Exception):
    """A token is not to be trusted; the message says why, and holds nothing of it."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: on whose key a session runs, for which user, until when it may begin, and its bounds.

    Times are whole Unix seconds. `max_session_s` and `budget_usd` only lower what the server's settings allow.
    """

    key_id: str
    issued_s: int
    expires_s: int
    user: str | None = None
    max_session_s: float | None = None
    budget_usd: float | None = None


class Signer:
    """Issues and checks tokens."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def issue(self, claims: Claims) -> str:
        """A token that says this."""
        said = {
            "k": claims.key_id,
            "i": claims.issued_s,
            "e": claims.expires_s,
            "u": claims.user,
            "s": claims.max_session_s,
            "b": claims.budget_usd,
        }
        known = {name: value for name, value in said.items() if value is not None}
        payload = _encode(json.dumps(known, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode())
        return f"{payload}.{self._signature(payload)}"

    def check(self, token: str, now_s: float) -> Claims:
        """What a token says.

        Raises:
            TokenError: it was not issued here, was altered, or its time is over or has not come.
        """
        payload, dot, signature = token.partition(".")
        if not dot or len(token) > MAX_TOKEN_CHARACTERS or not token.isascii():
            raise TokenError("the token is none of this server's")
        # As text, so that no second spelling of the same bytes passes.
        if not hmac.compare_digest(self._signature(payload), signature):
            raise TokenError("the token's signature is wrong")
        claims = _claims(payload)
        if claims.issued_s > now_s + SKEW_S:
            raise TokenError("the token is from the future: check the servers' clocks")
        if claims.expires_s <= now_s - SKEW_S:
            raise TokenError("the token has expired: get a new one")
        return claims

    def _signature(self, payload: str) -> str:
        return _encode(hmac.digest(self._secret, payload.encode(), hashlib.sha256))


def _claims(payload: str) -> Claims:
    """Signed by us or not, it is read with care: the secret may be one that another program signs with too."""
    try:
        found = json.loads(base64.b64decode(payload + "=" * (-len(payload) % 4), altchars=b"-_", validate=True))
        match found:
            case {"k": str(key_id), "i": int(issued_s), "e": int(expires_s)}:
                return Claims(
                    key_id,
                    issued_s,
                    expires_s,
                    user=_text(found.get("u")),
                    max_session_s=_number(found.get("s")),
                    budget_usd=_number(found.get("b")),
                )
    except (ValueError, binascii.Error, RecursionError):
        pass
    raise TokenError("the token says nothing that this server understands")


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise ValueError


def _number(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ValueError


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
