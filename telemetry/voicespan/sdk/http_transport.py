"""Requests by HTTP: OTLP as protobuf, and Langfuse's scores as JSON.

Retries follow OTLP: transport errors and 429, 502, 503, 504 may pass; whatever else a receiver refuses it will refuse
again.
"""

from __future__ import annotations

import gzip
import json
import math
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import requests

from voicespan.sdk.endpoint import Endpoint
from voicespan.sdk.transport import Accepted, Again, Answer, Refused, TooLarge, accepted_otlp

# zlib's levels from 4 on search twice as long for 4 % fewer bytes of spans.
_GZIP_LEVEL = 3
_RETRYABLE_STATUS = {429, 502, 503, 504}


class HttpTransport:
    """POST to one URL; `accepted` reads the body of an answer of the 200s."""

    def __init__(
        self, endpoint: Endpoint, content_type: str, accepted: Callable[[requests.Response], Accepted]
    ) -> None:
        self._endpoint = endpoint
        self._content_type = content_type
        self._accepted = accepted
        self._http = requests.Session()
        self._http.headers.update(endpoint.headers)
        self._http.headers["Content-Type"] = content_type
        if endpoint.gzip:
            self._http.headers["Content-Encoding"] = "gzip"
        if endpoint.certificate:
            self._http.verify = endpoint.certificate
        if endpoint.client_certificate:
            self._http.cert = (
                (endpoint.client_certificate, endpoint.client_key)
                if endpoint.client_key
                else endpoint.client_certificate
            )
        _keep_environment(self._http, endpoint.url)
        self._request: requests.PreparedRequest | None = None

    def post(self, body: bytes) -> Answer:
        """Send; any status of the 200s is acceptance, whatever the body looks like (Langfuse answers in JSON)."""
        data = gzip.compress(body, _GZIP_LEVEL) if self._endpoint.gzip else body
        try:
            # A redirect would turn the POST into a GET: refuse it by name instead.
            answer = self._http.send(self._with(data), timeout=self._endpoint.timeout_s, allow_redirects=False)
        except requests.RequestException as error:
            return Again(f"{type(error).__name__}: {error}")
        if answer.ok and answer.status_code < 300:
            return self._accepted(answer)
        return refusal(answer)

    def _with(self, data: bytes) -> requests.PreparedRequest:
        """The request, put together once, for that takes as long as to send it, and sent with ever other content."""
        if self._request is None:
            self._request = self._http.prepare_request(requests.Request("POST", self._endpoint.url))
        self._request.prepare_body(data, None)
        return self._request

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def renewed(self) -> HttpTransport:
        """Another to the same endpoint."""
        return HttpTransport(self._endpoint, self._content_type, self._accepted)


def of_otlp(endpoint: Endpoint) -> HttpTransport:
    """OTLP/HTTP."""
    return HttpTransport(endpoint, "application/x-protobuf", _accepted_http)


def of_scores(endpoint: Endpoint) -> HttpTransport:
    """Langfuse's scores."""
    return HttpTransport(endpoint, "application/json", _accepted_scores)


def refusal(answer: requests.Response) -> Again | Refused | TooLarge:
    """What a status that is none of the 200s means."""
    reason = f"HTTP {answer.status_code} {answer.text[:200]}".strip()
    if answer.status_code in _RETRYABLE_STATUS:
        return Again(reason, _retry_after(answer.headers.get("Retry-After")))
    return TooLarge(reason) if answer.status_code == 413 else Refused(reason)


def _keep_environment(http: requests.Session, url: str) -> None:
    """Look for proxies, certificates and .netrc once: requests looks through the whole environment for each request."""
    found = http.merge_environment_settings(url, {}, None, None, None)
    http.proxies.update(found["proxies"])
    http.verify = found["verify"]
    http.auth = requests.utils.get_netrc_auth(url)
    http.trust_env = False


def _accepted_http(answer: requests.Response) -> Accepted:
    return accepted_otlp(answer.content if "protobuf" in answer.headers.get("Content-Type", "") else b"")


def _accepted_scores(answer: requests.Response) -> Accepted:
    """Langfuse answers 202, or 207 with counts and reasons; a 207 must not be sent again."""
    try:
        told = json.loads(answer.content)
        rejected = int(told["rejected"])
        message = str(told["errors"][0]["message"]) if rejected else ""
    except (ValueError, LookupError, TypeError):
        return Accepted()
    return Accepted(rejected, message)


def _retry_after(header: str | None) -> float | None:
    """Seconds from now, of a number of them or a date; None leaves it to our own delay."""
    try:
        seconds = float(header or "")
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header or "").timestamp() - time.time()
        except ValueError:
            return None
        seconds = max(0.0, seconds)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
