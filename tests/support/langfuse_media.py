"""Langfuse's media API, and the object store behind it: what was asked for, put and reported.

Source of the rules: langfuse/langfuse v4.16, web/src/features/media and web/src/pages/api/public/media. The store is as
strict as S3: the URL is signed for a type, a length and a hash, and no other credentials may come with it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from support.http_server import Request, Response
from support.received import Inbox

MEDIA = "/api/public/media"
STORAGE = "/storage/"
TYPES = {"audio/wav", "audio/mpeg", "audio/ogg", "image/png", "image/jpeg", "application/pdf"}
FIELDS = {"input", "output", "metadata"}
MAX_BYTES = 1_000_000_000


@dataclass
class Medium:
    """A file by its hash: playable once it was put, and reported as put with 200."""

    id: str
    sha256: str
    content_type: str
    content_length: int
    links: list[tuple[str, str, str]] = field(default_factory=list)  # trace, observation, field
    content: bytes | None = field(default=None, repr=False)
    reported: list[tuple[int, str | None]] = field(default_factory=list)

    @property
    def playable(self) -> bool:
        return self.content is not None and bool(self.reported) and self.reported[-1][0] == 200


class LangfuseMedia:
    """`reports` has the media in the order in which somebody said what became of them."""

    def __init__(self) -> None:
        self._media: dict[str, Medium] = {}
        self.reports: Inbox[Medium] = Inbox()

    def all(self) -> list[Medium]:
        return list(self._media.values())

    def ask(self, request: Request) -> Response:
        """POST: a place for a file, or none where it is there."""
        posted = json.loads(request.body)
        if fault := _fault(posted):
            return Response.json(400, {"message": "Invalid request data", "error": fault})
        sha256 = str(posted["sha256Hash"])
        media_id = sha256.replace("+", "-").replace("/", "_")[:22]
        made = Medium(media_id, sha256, posted["contentType"], posted["contentLength"])
        medium = self._media.setdefault(media_id, made)
        link = (posted["traceId"], posted.get("observationId") or "", posted["field"])
        if link not in medium.links:
            medium.links.append(link)
        signed = urlencode({"X-Amz-Signature": f"of-{media_id}", "X-Amz-Expires": 3600})
        url = f"http://{request.headers['host']}{STORAGE}{media_id}.wav?{signed}"
        return Response.json(201, {"mediaId": media_id, "uploadUrl": None if medium.playable else url})

    def report(self, request: Request) -> Response:
        """PATCH: what became of putting it."""
        medium = self._media.get(request.path.removeprefix(MEDIA + "/"))
        said = json.loads(request.body)
        if medium is None:
            return Response.json(404, {"message": "Media asset not found"})
        if not isinstance(said.get("uploadedAt"), str) or not isinstance(said.get("uploadHttpStatus"), int):
            return Response.json(400, {"message": "Invalid request data"})
        medium.reported.append((said["uploadHttpStatus"], said.get("uploadHttpError")))
        self.reports.add([medium])
        return Response(200)

    def put(self, request: Request) -> Response:
        """PUT at the object store; its answers are XML."""
        found = re.fullmatch(
            re.escape(STORAGE) + r"([\w-]{22})\.wav\?X-Amz-Signature=of-\1&X-Amz-Expires=3600", request.path
        )
        medium = self._media.get(found[1]) if found else None
        if medium is None or request.method != "PUT":
            return _xml(403, "SignatureDoesNotMatch")
        if "authorization" in request.headers:
            return _xml(400, "InvalidArgument")
        sha256 = base64.b64encode(hashlib.sha256(request.body).digest()).decode()
        expected = {"content-type": medium.content_type, "x-amz-checksum-sha256": medium.sha256}
        if {name: request.headers.get(name) for name in expected} != expected:
            return _xml(403, "SignatureDoesNotMatch")
        if sha256 != medium.sha256 or len(request.body) != medium.content_length:
            return _xml(400, "BadDigest")
        medium.content = request.body
        return Response(200)


def _fault(posted: Any) -> str | None:
    if not isinstance(posted, dict) or not isinstance(posted.get("traceId"), str):
        return "traceId: required"
    if posted.get("contentType") not in TYPES:
        return "contentType: not supported"
    length = posted.get("contentLength")
    if not isinstance(length, int) or not 0 < length <= MAX_BYTES:
        return "contentLength: a positive integer"
    if not re.fullmatch(r"[A-Za-z0-9+/=]{44}", str(posted.get("sha256Hash"))):
        return "sha256Hash: must be a 44 character base64 encoded SHA-256 hash"
    return None if posted.get("field") in FIELDS else "field: unknown"


def _xml(status: int, code: str) -> Response:
    return Response(status, f"<Error><Code>{code}</Code></Error>".encode(), "application/xml")
