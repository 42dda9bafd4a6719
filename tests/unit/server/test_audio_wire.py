"""Audio as bytes: what is taken for it, what is not, and the frames around it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from voicespan_server import audio_wire as wire

PCM = bytes(range(256)) * 7 + b"\x01\x02"
RATE = "audio/pcm;rate=24000"


def message(pcm: bytes = PCM, **turn: Any) -> dict[str, Any]:
    data = base64.b64encode(pcm).decode()
    return {"serverContent": {"modelTurn": {"parts": [{"inlineData": {"mimeType": RATE, "data": data}}], **turn}}}


def taken(text: bytes) -> tuple[bytes, str] | None:
    # As it stands in what was read: with something before and behind.
    return wire.model_audio(b'{"data":"' + text + b'"}', 9, 9 + len(text))


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(message()),
        json.dumps(message(), indent=2) + "\n",
        json.dumps(message(), separators=(",", ":")),
        json.dumps(message(role="model")),
        json.dumps(message()).replace("{", " {\t").replace(":", " :\r\n "),
        json.dumps(message()).replace(f'"mimeType": "{RATE}", ', "").replace('"}}]', f'", "mimeType": "{RATE}"}}}}]'),
    ],
    ids=["json.dumps", "pretty", "compact", "with a role", "odd spacing", "the data first"],
)
def test_a_chunk_of_audio_is_taken_whatever_its_spacing(text: str) -> None:
    assert taken(text.encode()) == (PCM, RATE)


def change(text: bytes, old: bytes, new: bytes) -> bytes:
    assert old in text
    return text.replace(old, new, 1)


TEXT = json.dumps(message(b"\x00\x01"), separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "text",
    [
        change(TEXT, b"}}]}}}", b'}}]}},"usageMetadata":{}}'),
        change(TEXT, b"}}]}}}", b'}}]},"turnComplete":true}}'),
        change(TEXT, b"}}]}}}", b'}},{"text":"and"}]}}}'),
        change(TEXT, b'"parts"', b'"role":7,"parts"'),
        change(TEXT, b'"parts"', b'"more":"","parts"'),
        change(TEXT, b'"mimeType"', b'"displayName":"x","mimeType"'),
        change(TEXT, b"audio/pcm;rate=24000", b"image/png"),
        change(TEXT, b'"audio/pcm;rate=24000"', b"24000"),
        change(TEXT, b'"data"', b'"data":"AAAA","data"'),
        change(TEXT, b'"data"', b'"":"","data"'),
        change(TEXT, b"AAE=", b""),
        change(TEXT, b"AAE=", b"AAF="),
        change(TEXT, b"AAE=", b"A"),
        change(TEXT, b"AAE=", b"AA E"),
        change(TEXT, b"AAE=", b"AA_E"),
        change(TEXT, b"AAE=", b"AA\\/E"),
        change(TEXT, b'"AAE="', b"7"),
        TEXT[:-1],
        TEXT[: TEXT.index(b"AAE")],
        TEXT[: TEXT.index(b'"AAE')],
        TEXT + b"}",
        b"{}",
        b"",
        b'"data"',
        b"\xff" + TEXT,
        b" " * 1000 + TEXT,
    ],
)
def test_whatever_is_not_exactly_a_chunk_of_audio_is_declined(text: bytes) -> None:
    assert taken(text) is None


def test_only_an_empty_object_says_nothing() -> None:
    assert wire.says_nothing(b"x{}x", 1, 3)
    assert not wire.says_nothing(b"x{}x", 1, 4)
    assert not wire.says_nothing(b"[]", 0, 2)


@pytest.mark.parametrize("size", [0, 2, 50, 640, 3_200, 48_000])
def test_the_users_audio_is_a_masked_text_frame_as_websockets_reads_it(size: int) -> None:
    pcm = PCM[:size] if size <= len(PCM) else PCM * (size // len(PCM)) + PCM[: size % len(PCM)]
    written = wire.audio_writer("audio/pcm;rate=16000")(pcm)
    frame = read(written, mask=True)
    assert (frame.opcode, frame.fin) == (Opcode.TEXT, True)
    audio = json.loads(bytes(frame.data))["realtime_input"]["audio"]
    assert base64.b64decode(audio["data"]) == pcm
    assert audio["mime_type"] == "audio/pcm;rate=16000"
    assert wire.frame_at(written, 0) is not None


def test_no_two_frames_have_the_same_mask() -> None:
    write = wire.audio_writer(RATE)
    assert len({write(PCM)[4:8] for _ in range(2_000)}) > 1_990


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_audio_to_the_client_is_a_binary_frame_as_websockets_reads_it(size: int) -> None:
    frame = read(wire.server_frame(wire.FINAL_BINARY, bytes(size)), mask=False)
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.BINARY, True, bytes(size))


@given(st.binary(max_size=300) | st.sampled_from([126, 65_535, 65_536, 70_001]).map(bytes), st.booleans(), st.binary())
def test_a_frame_is_found_where_websockets_wrote_it(payload: bytes, mask: bool, before: bytes) -> None:
    frame = Frame(Opcode.BINARY, payload).serialize(mask=mask)
    data = before + frame + b"\x81"
    found = wire.frame_at(data, len(before))
    assert found is not None
    start, end = found
    assert end == len(before) + len(frame)
    assert (wire.unmasked(data, start, end) if mask else data[start:end]) == payload
    header = start - len(before) - (4 if mask else 0)
    assert all(wire.frame_at(frame[:size], 0) is None for size in range(header))
    assert wire.frame_at(frame[:header], 0) is not None


def read(data: bytes, *, mask: bool) -> Frame:
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    frame = run(Frame.parse(reader.read_exact, mask=mask))
    assert run(reader.at_eof())
    return frame


def run(generator: Any) -> Any:
    try:
        next(generator)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it wants more bytes")
