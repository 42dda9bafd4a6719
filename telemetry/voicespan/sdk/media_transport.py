"""Files to Langfuse in three steps: ask for a place, put the file there, say that it was put.

The place is a signed URL of the object store behind Langfuse. After an outage between the steps they begin anew: what
was put twice is one file.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from datetime import UTC, datetime

import requests

from voicespan.sdk.endpoint import Endpoint
from voicespan.sdk.http_transport import refusal
from voicespan.sdk.transport import Accepted, Again, Answer, Refused
from voicespan.sdk.upload import WAV, Upload, media_id

MAX_REASON = 200


class MediaTransport:
    """`post` takes one encoded `Upload`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._langfuse = requests.Session()
        self._langfuse.headers.update(endpoint.headers)
        # Another host, which must not see Langfuse's keys; and S3 refuses a request that is signed and has some.
        self._storage = requests.Session()

    def post(self, body: bytes) -> Answer:
        """Upload, unless Langfuse has the file: it takes a hash once."""
        upload = Upload.decode(body)
        sha256 = upload.sha256
        try:
            asked = self._ask("POST", "", upload.request(sha256))
            if not _taken(asked):
                return refusal(asked)
            place = _place(asked)
            if isinstance(place, Refused):
                return place
            if place is None:
                return Accepted()
            return self._put(upload, sha256, place)
        except requests.RequestException as error:
            return Again(f"{type(error).__name__}: {error}")

    def _put(self, upload: Upload, sha256: bytes, url: str) -> Answer:
        headers = {"Content-Type": WAV}
        if "storage.googleapis.com" not in url:  # which takes none that it did not sign
            headers |= {"x-amz-checksum-sha256": base64.b64encode(sha256).decode(), "x-ms-blob-type": "BlockBlob"}
        began_s = time.monotonic()
        put = self._storage.put(
            url, data=upload.content, headers=headers, timeout=self._endpoint.timeout_s, allow_redirects=False
        )
        answer: Answer = Accepted() if _taken(put) else refusal(put)
        if isinstance(answer, Again):
            return answer
        told = self._ask(
            "PATCH",
            f"/{media_id(sha256)}",
            {
                "uploadedAt": datetime.now(UTC).isoformat(),
                "uploadHttpStatus": put.status_code,
                "uploadHttpError": None if _taken(put) else put.text[:MAX_REASON],
                "uploadTimeMs": round((time.monotonic() - began_s) * 1000),
            },
        )
        return refusal(told) if _taken(put) and not _taken(told) else answer

    def _ask(self, method: str, path: str, body: Mapping[str, str | int | None]) -> requests.Response:
        return self._langfuse.request(
            method, self._endpoint.url + path, json=body, timeout=self._endpoint.timeout_s, allow_redirects=False
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._langfuse.close()
        self._storage.close()

    def renewed(self) -> MediaTransport:
        """Another to the same project."""
        return MediaTransport(self._endpoint)


def _taken(answer: requests.Response) -> bool:
    return 200 <= answer.status_code < 300


def _place(asked: requests.Response) -> str | Refused | None:
    """The signed URL; None where Langfuse has the file already."""
    try:
        url = asked.json().get("uploadUrl")
    except (ValueError, AttributeError):
        return Refused(f"HTTP {asked.status_code}, but no answer of Langfuse's: {asked.text[:MAX_REASON]}")
    return str(url) if url else None
