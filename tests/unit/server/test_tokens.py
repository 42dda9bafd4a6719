"""Session tokens: what one says, and that nothing but what this server signed, in its time, is believed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from voicespan_server.access.tokens import MAX_TOKEN_CHARACTERS, SKEW_S, Claims, Signer, TokenError

NOW_S = 1_800_000_000
SIGNER = Signer(b"s" * 32)
CLAIMS = Claims("alice", NOW_S, NOW_S + 60, "user-1", 120.0, 0.5)
NUMBERS = st.none() | st.floats(min_value=0, max_value=1e6)


def signed(payload: bytes, secret: bytes = b"s" * 32) -> str:
    head = base64.urlsafe_b64encode(payload).rstrip(b"=")
    tail = base64.urlsafe_b64encode(hmac.digest(secret, head, hashlib.sha256)).rstrip(b"=")
    return f"{head.decode()}.{tail.decode()}"


@given(st.text(max_size=64), st.none() | st.text(max_size=64), NUMBERS, NUMBERS)
def test_a_token_says_what_it_was_issued_for(
    key_id: str, user: str | None, max_session_s: float | None, budget_usd: float | None
) -> None:
    claims = Claims(key_id, NOW_S, NOW_S + 60, user, max_session_s, budget_usd)
    assert SIGNER.check(SIGNER.issue(claims), NOW_S + 1) == claims


def test_a_token_may_stand_in_a_subprotocol_header() -> None:
    assert set(SIGNER.issue(CLAIMS)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def test_a_token_of_the_longest_user_is_no_longer_than_one_may_be() -> None:
    claims = Claims("alice", NOW_S, NOW_S + 60, "\N{GRINNING FACE}" * 200, 120.0, 0.5)
    assert SIGNER.check(SIGNER.issue(claims), NOW_S) == claims


@pytest.mark.parametrize(
    ("at_s", "told"),
    [
        (NOW_S - SKEW_S - 1, "from the future"),
        (NOW_S - SKEW_S, None),
        (NOW_S + 59, None),
        (NOW_S + 60 + SKEW_S - 1, None),
        (NOW_S + 60 + SKEW_S, "expired"),
    ],
)
def test_a_token_has_its_time_give_or_take_what_clocks_differ_by(at_s: float, told: str | None) -> None:
    token = SIGNER.issue(CLAIMS)
    if told is None:
        assert SIGNER.check(token, at_s) == CLAIMS
        return
    with pytest.raises(TokenError, match=told):
        SIGNER.check(token, at_s)


def test_a_token_of_another_secret_is_refused() -> None:
    with pytest.raises(TokenError, match="signature"):
        Signer(b"t" * 32).check(SIGNER.issue(CLAIMS), NOW_S)


@given(st.data())
def test_a_token_that_was_altered_anywhere_is_refused(data: st.DataObject) -> None:
    token = SIGNER.issue(CLAIMS)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda character: character != token[at]))
    with pytest.raises(TokenError):
        SIGNER.check(token[:at] + other + token[at + 1 :], NOW_S)


@given(st.text(max_size=300))
@example("." * 3)
@example("x" * (MAX_TOKEN_CHARACTERS + 1) + ".y")
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(TokenError):
        SIGNER.check(text, NOW_S)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[1]",
        b"{}",
        b"\xff",
        b"[" * 900,
        json.dumps({"k": 1, "i": NOW_S, "e": NOW_S + 9}).encode(),
        json.dumps({"k": "a", "i": NOW_S, "e": NOW_S + 9.5}).encode(),
        json.dumps({"k": "a", "i": NOW_S, "e": NOW_S + 9, "u": 7}).encode(),
        b'{"k": "a", "i": 1800000000, "e": 1800000009, "s": NaN}',
        b'{"k": "a", "i": 1800000000, "e": 1800000009, "b": true}',
    ],
)
def test_a_signature_alone_makes_no_claims(payload: bytes) -> None:
    with pytest.raises(TokenError, match="understands"):
        SIGNER.check(signed(payload), NOW_S)
