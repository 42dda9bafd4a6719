"""A file for Langfuse: what it is asked for a place to put it, and the file itself, as one request of the outbox.

The id is Langfuse's own: the first 132 bits of the SHA-256 hash. So it is known before anything is sent, and a file
that is sent twice is one file. Rules read in Langfuse 4.16, web/src/features/media.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from voicespan.recording import Side

WAV = "audio/wav"
ID_LENGTH = 22


@dataclass(frozen=True, slots=True)
class Upload:
    """A WAV file, and the span and the side of it to which it belongs. Ids are hex."""

    trace_id: str
    span_id: str
    side: Side
    content: bytes

    @property
    def sha256(self) -> bytes:
        """Of the content; counted anew each time."""
        return hashlib.sha256(self.content).digest()

    def encode(self) -> bytes:
        """A line of JSON, and the content."""
        line = json.dumps({"trace_id": self.trace_id, "span_id": self.span_id, "side": self.side})
        return line.encode() + b"\n" + self.content

    @classmethod
    def decode(cls, body: bytes) -> Upload:
        """What `encode` made."""
        line, _, content = body.partition(b"\n")
        return cls(content=content, **json.loads(line))

    def request(self, sha256: bytes) -> Mapping[str, str | int | None]:
        """The body of POST /api/public/media."""
        return {
            "traceId": self.trace_id,
            "observationId": self.span_id,
            "field": self.side,
            "contentType": WAV,
            "contentLength": len(self.content),
            "sha256Hash": base64.b64encode(sha256).decode(),
        }


def media_id(sha256: bytes) -> str:
    """What Langfuse calls a file with this hash."""
    return base64.urlsafe_b64encode(sha256).decode()[:ID_LENGTH]


def token(sha256: bytes) -> str:
    """What stands for the file in a message, and where Langfuse shows a player."""
    return f"@@@langfuseMedia:type={WAV}|id={media_id(sha256)}|source=bytes@@@"
