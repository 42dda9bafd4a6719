"""Audio as it stands on the wire, read and written as bytes: WebSocket frames, and the Live API's JSON around base64.

A call is fifty frames a second one way and some twenty-five the other. google-genai's way from bytes to a typed message
and back costs several times what the sockets do; what is here costs about as much as copying the bytes. It is strict:
what is not exactly audio is declined, and then goes the typed way.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from struct import Struct

import pybase64

try:
    from websockets.speedups import apply_mask
except ImportError:  # websockets without its C extension
    from websockets.utils import apply_mask

logger = logging.getLogger(__name__)

FINAL_TEXT, FINAL_BINARY = 0x81, 0x82
FINAL = MASKED = 0x80
# The JSON around a chunk of audio is some 150 bytes, pretty-printed; with more it says more than audio.
MAX_ENVELOPE_BYTES = 400

_SHORT, _MEDIUM, _LONG = Struct("!BB"), Struct("!BBH"), Struct("!BBQ")
_MEDIUM_MASKED, _KEY = Struct("!BBH4s"), Struct("4s")


@cache
def warn_once(whom: str, reason: str) -> None:
    """Say that a process's audio takes the typed way, and why. It works, and costs several times as much."""
    logger.warning("audio to and from %s takes the slow path: %s", whom, reason)


def frame_at(data: bytes, at: int) -> tuple[int, int] | None:
    """Where the payload of the frame that begins at `at` begins, and where it ends, both as offsets into `data`.

    The frame need not be there to its end; None where not even its header is.
    """
    have = len(data) - at
    if have < 2:
        return None
    second = data[at + 1]
    payload = at + (6 if second & MASKED else 2)
    length = second & 0x7F
    if length == 126:
        if have < 4:
            return None
        payload += 2
        length = data[at + 2] << 8 | data[at + 3]
    elif length == 127:
        if have < 10:
            return None
        payload += 8
        length = int.from_bytes(data[at + 2 : at + 10], "big")
    return payload, payload + length


def unmasked(data: bytes, payload: int, end: int) -> bytes:
    """The payload of a client's frame, which stands behind its key."""
    return apply_mask(data[payload:end], data[payload - 4 : payload])


def server_frame(first: int, payload: bytes) -> bytes:
    """A server's frame, `FINAL_BINARY` or `FINAL_TEXT`: whole, not masked."""
    return b"".join((_header(first, len(payload)), payload))


@lru_cache(maxsize=256)
def _header(first: int, length: int) -> bytes:
    if length < 126:
        return _SHORT.pack(first, length)
    return _MEDIUM.pack(first, 126, length) if length < 1 << 16 else _LONG.pack(first, 127, length)


def audio_writer(mime_type: str) -> Callable[[bytes], bytes]:
    """What makes a client's frame of a chunk of the user's audio: a text, masked, `realtime_input` around base64."""
    head, tail = b'{"realtime_input":{"audio":{"data":"', b'","mime_type":%s}}}' % json.dumps(mime_type).encode()

    def write(pcm: bytes) -> bytes:
        payload = b"".join((head, pybase64.b64encode(pcm), tail))
        length, key = len(payload), next(_mask_keys)
        if 126 <= length < 1 << 16:
            header = _MEDIUM_MASKED.pack(FINAL_TEXT, MASKED | 126, length, key)
        elif length < 126:
            header = _SHORT.pack(FINAL_TEXT, MASKED | length) + key
        else:
            header = _LONG.pack(FINAL_TEXT, MASKED | 127, length) + key
        return b"".join((header, apply_mask(payload, key)))

    return write


def _keys() -> Iterator[bytes]:
    """Masking keys: from the system's source, as RFC 6455 asks, a thousand for one call of it."""
    while True:
        for (key,) in _KEY.iter_unpack(os.urandom(1000 * _KEY.size)):
            yield key


_mask_keys = _keys()


def says_nothing(data: bytes, start: int, end: int) -> bool:
    """Whether the server message between two offsets is `{}`, which Gemini 3.8 sends ahead of most others."""
    return end - start == 2 and data[start:end] == b"{}"


def model_audio(data: bytes, start: int, end: int) -> tuple[bytes, str] | None:
    """The PCM and mime type of a server message that is one chunk of audio and nothing else; None for all others.

    Whatever the spacing and order of its JSON: the base64 is cut out, and what is left is looked up among what was
    parsed before.
    """
    key = data.find(b'"data"', start, end)
    if key < 0:
        return None
    begin = data.find(b'"', key + 6, end) + 1
    close = data.find(b'"', begin, end)
    if not begin or close < 0 or begin - start + end - close > MAX_ENVELOPE_BYTES:
        return None
    mime_type = _mime_type(data[start:begin] + data[close:end])
    if mime_type is None:
        return None
    text = data[begin:close]
    try:
        pcm = pybase64.b64decode(text, validate=True)
    except ValueError:
        return None
    # The last symbol's unused bits must be zero: google-genai refuses it otherwise.
    if not pcm or (text.endswith(b"=") and pybase64.b64encode(pcm[-(len(pcm) % 3) :]) != text[-4:]):
        return None
    return pcm, mime_type


@lru_cache(maxsize=64)
def _mime_type(envelope: bytes) -> str | None:
    """What the JSON around a chunk of audio, its data cut out, says of the audio; None where it is anything else."""
    try:
        match json.loads(envelope, object_pairs_hook=_unique):
            case {"serverContent": {"modelTurn": {"parts": [{"inlineData": blob}], **turn}, **content}, **message}:
                if message or content or (turn and not _is_role(turn)) or blob.keys() != {"data", "mimeType"}:
                    return None
                mime_type = blob["mimeType"]
                audio = blob["data"] == "" and isinstance(mime_type, str) and mime_type.startswith("audio/pcm")
                return mime_type if audio else None
    except (AttributeError, ValueError, RecursionError):
        pass
    return None


def _is_role(turn: dict[object, object]) -> bool:
    return turn.keys() == {"role"} and isinstance(turn["role"], str)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object whose keys differ: of two alike the last would count, and the first may be what was cut."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found
