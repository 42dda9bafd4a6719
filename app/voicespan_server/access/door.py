"""The door: every call and every request of the API passes it, and what it lets in it counts until it leaves.

It is of one process. With several workers each has its own counts of sessions and rates; spend is joined by the store.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial

from starlette.requests import HTTPConnection

from voicespan_server.access.addresses import Proxies, group_of
from voicespan_server.access.admission import Admission, Lateness
from voicespan_server.access.allowance import Allowance
from voicespan_server.access.keys import ApiKeys, ApiKeysError
from voicespan_server.access.origins import OriginError, Origins, is_loopback
from voicespan_server.access.quota import Exceeded, Quota
from voicespan_server.access.refusal import (
    BUDGET,
    FORBIDDEN,
    IN_A_WHILE,
    OVERLOADED,
    RATE_LIMITED,
    SOON,
    TOO_MANY_SESSIONS,
    UNAUTHORIZED,
    Refused,
    about,
)
from voicespan_server.access.spend import NOBODY, Budgets, CallMeter, Spend
from voicespan_server.access.tokens import Claims, Signer, TokenError
from voicespan_server.protocol import BEARER
from voicespan_server.settings import Settings, SettingsError
from voicespan_server.undo import Undo

logger = logging.getLogger(__name__)

# Connections that have not said who they are: they cost little, and are not to be the way to shut everybody else out.
MAX_UNKNOWN = 256
# Spans of refused calls and requests in a second, and at once: a flood of strangers is counted, not told one by one.
REFUSALS_TOLD_PER_S, REFUSALS_TOLD_AT_ONCE = 10, 100


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is let in: by which key, as which user where a token says so, and what the token's bounds are."""

    key_id: str = NOBODY
    user: str | None = None
    max_session_s: float | None = None
    budget_usd: float | None = None


class Door:
    """Who is let in, and how many."""

    def __init__(self, settings: Settings) -> None:
        """Raise SettingsError where a setting cannot be used, or the server would be open to strangers."""
        try:
            secret = settings.api_keys.get_secret_value() if settings.api_keys else ""
            self.keys = ApiKeys.parse(secret)
            if secret and not self.keys:
                raise ApiKeysError("there is no key in it: write id:secret, or leave it unset")
        except ApiKeysError as error:
            raise SettingsError(f"VOICESPAN_API_KEYS: {error}") from None
        check_not_open_to_strangers(settings.host, self.keys)
        try:
            self.origins = Origins(_listed(settings.allowed_origins), local_only=self.open)
        except OriginError as error:
            raise SettingsError(f"VOICESPAN_ALLOWED_ORIGINS: {error}") from None
        try:
            self._proxies = Proxies(_listed(settings.trusted_proxies))
        except ValueError as error:
            raise SettingsError(f"VOICESPAN_TRUSTED_PROXIES: {error}") from None
        own = settings.token_secret.get_secret_value().encode() if settings.token_secret else None
        self._signer = Signer(own or self.keys.derived_secret())
        self.lateness = Lateness()
        self.admission = Admission(settings.max_sessions, self.lateness)
        self._by_key = Quota(settings.max_sessions_per_key, settings.new_sessions_per_minute_per_key)
        self._by_address = Quota(settings.max_sessions_per_address, settings.new_sessions_per_minute_per_address)
        budgets = Budgets(settings.session_budget_usd, settings.key_day_budget_usd, settings.day_budget_usd)
        self.spend = Spend(budgets, today())
        self._simulated_too = settings.budget_simulated
        self.refused: Counter[str] = Counter()
        self._told = Allowance(REFUSALS_TOLD_PER_S, REFUSALS_TOLD_AT_ONCE)
        self.inside = 0  # calls that were let in and have not left
        self._unknown = 0
        self._warned = False

    @property
    def open(self) -> bool:
        """Whether no key is asked for."""
        return not self.keys

    # --- who --------------------------------------------------------------------------------------------------------

    def check_page(self, connection: HTTPConnection) -> None:
        """Let no web page in that has no business here.

        Raises:
            Refused: the page's origin is not allowed, or the host it asked for is none of ours.
        """
        host, origin = connection.headers.get("host"), connection.headers.get("origin")
        if not self.origins.knows_host(host) or (self.open and not _arrived_locally(connection)):
            raise Refused(FORBIDDEN, "without API keys this server answers to this machine alone, as localhost")
        if not self.origins.permits(origin, host):
            raise Refused(FORBIDDEN, "the page is of an origin that VOICESPAN_ALLOWED_ORIGINS does not list")

    def by_key(self, secret: str | None) -> Caller:
        """Who has this API key.

        Raises:
            Refused: nobody.
        """
        if self.open:
            return Caller()
        key_id = self.keys.identify(secret) if secret else None
        if key_id is None:
            what = "the API key is not known" if secret else "an API key is needed: Authorization: Bearer KEY"
            raise Refused(UNAUTHORIZED, what)
        return Caller(key_id)

    def by_token(self, token: str | None) -> Caller:
        """Whom a session token is for.

        Raises:
            Refused: nobody; or there is none, and one is needed.
        """
        if token is None:
            if self.open:
                return Caller()
            raise Refused(UNAUTHORIZED, "a session token is needed: POST /v1/session-tokens gives one for an API key")
        try:
            claims = self._signer.check(token, time.time())
        except TokenError as error:
            raise Refused(UNAUTHORIZED, str(error)) from None
        if not self.open and claims.key_id not in self.keys:
            raise Refused(UNAUTHORIZED, "the token's API key is no longer valid")
        return Caller(claims.key_id, claims.user, claims.max_session_s, claims.budget_usd)

    def issue(self, claims: Claims) -> str:
        """A session token."""
        return self._signer.issue(claims)

    def address(self, connection: HTTPConnection) -> str:
        """Whose limits apply: an address, or a network of them; empty for this machine."""
        peer = connection.client.host if connection.client else None
        return group_of(self._proxies.client(peer, ",".join(connection.headers.getlist("x-forwarded-for"))))

    # --- how many ---------------------------------------------------------------------------------------------------

    def knock(self, address: str) -> Undo:
        """A connection, from before it said who it is until it ends.

        Raises:
            Refused: too many come from there.
        """
        exceeded = self._by_address.begin(address)
        if exceeded and not self._warned:
            self._warned = True
            logger.warning(
                "too many sessions from one address are refused; if a balancer's is the only address that this server "
                "sees, VOICESPAN_TRUSTED_PROXIES has to name it"
            )
        _check(exceeded, "address")
        return Undo(partial(self._by_address.end, address))

    @contextmanager
    def unknown(self) -> Iterator[None]:
        """The time in which a connection has not said who it is: by a token ahead of its hello it has.

        Raises:
            Refused: too many have not.
        """
        if self._unknown >= MAX_UNKNOWN:
            raise _overloaded()
        self._unknown += 1
        try:
            yield
        finally:
            self._unknown -= 1

    def inside_as(self, caller: Caller, *, goes_on: bool = False) -> Undo:
        """A call of theirs, or a chat's exchange, as long as it lasts.

        One that `goes_on` with a session is let in to a full server: it had its place, which may not be free yet.

        Raises:
            Refused: a limit of the key's is met, a budget spent, or the server full.
        """
        if why := self.spend.exhausted(caller.key_id, today()):
            raise Refused(BUDGET, why)
        if not goes_on and self.admission.full(self.inside):
            raise _overloaded()
        _check(self._by_key.begin(caller.key_id), "key")
        self.inside += 1
        return Undo(partial(self._leaves, caller.key_id))

    def _leaves(self, key_id: str) -> None:
        self.inside -= 1
        self._by_key.end(key_id)

    def count(self, refused: Refused) -> None:
        """Somebody was not let in."""
        self.refused[refused.reason.code] += 1

    def tells(self) -> bool:
        """Whether a span is to tell of somebody who is not let in: of a flood of them it is not."""
        return self._told.allow(1)

    def meter(self, trace_id: str, caller: Caller, backend: str) -> CallMeter | None:
        """What watches a call's cost; None where nothing is to be paid for it."""
        if backend == "simulator" and not self._simulated_too:
            return None
        limits = [usd for usd in (self.spend.budgets.session_usd, caller.budget_usd) if usd is not None]
        return CallMeter(self.spend, trace_id, caller.key_id, min(limits, default=None))


def check_not_open_to_strangers(host: str, keys: ApiKeys) -> None:
    """Without keys nobody but this machine may reach the server.

    Raises:
        SettingsError: others could.
    """
    if not keys and not is_loopback(host):
        raise SettingsError(
            f"VOICESPAN_HOST={host} would let everybody in: set VOICESPAN_API_KEYS=id:secret "
            "(or VOICESPAN_API_KEYS_FILE), or listen on 127.0.0.1"
        )


def token_of(subprotocols: list[str]) -> str | None:
    """The token that a client offered among its subprotocols, as `bearer.TOKEN`."""
    return next((each.removeprefix(BEARER) for each in subprotocols if each.startswith(BEARER)), None)


def today() -> date:
    """In UTC, as all sums of a day are."""
    return datetime.now(UTC).date()


def _overloaded() -> Refused:
    return Refused(OVERLOADED, "the server has no room for another call", about(SOON))


def _check(exceeded: Exceeded | None, whose: str) -> None:
    if exceeded is Exceeded.CONCURRENT:
        raise Refused(TOO_MANY_SESSIONS, f"this {whose} has as many sessions as it may have", about(IN_A_WHILE))
    if exceeded is Exceeded.RATE:
        raise Refused(RATE_LIMITED, f"this {whose} began too many sessions in the last minute", about(IN_A_WHILE))


def _arrived_locally(connection: HTTPConnection) -> bool:
    """Whether a request came in on an address of the loopback: whoever starts uvicorn may bind it to any."""
    server = connection.scope.get("server")
    return server is None or server[1] is None or is_loopback(str(server[0]))


def _listed(text: str) -> list[str]:
    return [each for each in (part.strip() for part in text.replace("\n", ",").split(",")) if each]
