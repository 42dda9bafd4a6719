"""Recordings on their way: into the store, to Langfuse in three steps, and out of the store again."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.http_server import HttpServer, Response
from support.langfuse_sink import LangfuseSink
from support.simulated_call import tone
from voicespan.recording import Clip, Kept, TurnSound
from voicespan.sdk import media as media_module
from voicespan.sdk import sender as sender_module
from voicespan.sdk.langfuse_endpoint import langfuse_endpoint
from voicespan.sdk.maintenance import rejections, replay, status
from voicespan.sdk.media import Media
from voicespan.sdk.media_transport import MediaTransport
from voicespan.sdk.pipeline import configure
from voicespan.sdk.sender import Sender
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Bounds, Store
from voicespan.sdk.transport import Accepted, Again, Refused
from voicespan.sdk.upload import Upload
from voicespan.wav import wav

TOKEN = re.compile(r"^@@@langfuseMedia:type=audio/wav\|id=[A-Za-z0-9_-]{22}\|source=bytes@@@$")
PCM = tone(0.5)


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "FIRST_DELAY_S", 0.02)
    monkeypatch.setattr(sender_module, "GATHER_S", 0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traces.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store(path, send=[Signal.MEDIA])
    yield opened
    opened.close()


@pytest.fixture
def langfuse() -> Iterator[LangfuseSink]:
    with LangfuseSink() as sink:
        yield sink


def keep(store: Store, *pcm: bytes, media: Media | None = None) -> list[Kept]:
    """The sound of a turn for each piece, as what the user said."""
    media = media or Media(store)
    sounds = [TurnSound((Clip("input", [piece], 16_000),), "1" * 32, f"{n:016x}", "s-1") for n, piece in enumerate(pcm)]
    kept = [clip for sound in sounds for clip in media.keep(sound).result(5)]
    assert store.flush(5)
    return kept


def transport(langfuse: LangfuseSink | HttpServer, secret_key: str = "sk-lf-test") -> MediaTransport:
    url = langfuse.base_url if isinstance(langfuse, LangfuseSink) else langfuse.url
    keys = {"LANGFUSE_PUBLIC_KEY": "pk-lf-test", "LANGFUSE_SECRET_KEY": secret_key, "LANGFUSE_BASE_URL": url}
    endpoint = langfuse_endpoint("/api/public/media", keys)
    assert endpoint is not None
    return MediaTransport(endpoint)


def start(store: Store, langfuse: LangfuseSink) -> Sender:
    return Sender(store, transport(langfuse), Signal.MEDIA)


def content(path: Path) -> int:
    return {found.signal: found.records for found in status(path).signals}[Signal.MEDIA]


def test_a_recording_is_stored_as_a_file_and_known_by_its_hash(store: Store) -> None:
    [kept] = keep(store, PCM)
    digest = hashlib.sha256(wav(PCM, 16_000)).digest()
    assert TOKEN.fullmatch(kept.token)
    assert base64.urlsafe_b64encode(digest).decode()[:22] in kept.token
    assert (kept.side, kept.duration_s, kept.cut) == ("input", 0.5, False)
    with store.locked() as database:
        rows = database.execute("SELECT signal, name, trace_id, span_id, session_id, body FROM records").fetchall()
    assert rows == [("media", "input", "1" * 32, "0" * 16, "s-1", wav(PCM, 16_000))]


def test_langfuse_gets_the_file_and_the_store_lets_it_go(store: Store, path: Path, langfuse: LangfuseSink) -> None:
    [kept] = keep(store, PCM)
    assert content(path) == 1
    sender = start(store, langfuse)
    [medium] = langfuse.api.media.reports.wait_count(1)
    assert sender.stop(5)
    assert (medium.content, medium.playable) == (wav(PCM, 16_000), True)
    assert medium.id in kept.token
    assert medium.links == [("1" * 32, "0" * 16, "input")]
    assert [(r.method, r.path.partition("/media")[2][:1]) for r in langfuse.api_requests.all()] == [
        ("POST", ""),
        ("PATCH", "/"),
    ]
    assert "authorization" not in langfuse.storage_requests.all()[0].headers
    assert (sender.stats.sent, content(path), store.stats().queued[Signal.MEDIA]) == (1, 0, 0)


def test_files_go_one_by_one_in_their_order(store: Store, langfuse: LangfuseSink) -> None:
    pieces = [tone(0.1 * n) for n in range(1, 6)]
    keep(store, *pieces)
    sender = start(store, langfuse)
    langfuse.api.media.reports.wait_count(5)
    assert sender.stop(5)
    assert [medium.content for medium in langfuse.api.media.all()] == [wav(piece, 16_000) for piece in pieces]


def test_what_langfuse_has_is_not_put_again(store: Store, langfuse: LangfuseSink) -> None:
    keep(store, PCM, PCM)
    sender = start(store, langfuse)
    langfuse.api.media.reports.wait_count(1)
    assert sender.stop(5)
    [medium] = langfuse.api.media.all()
    assert [span_id for _, span_id, _ in medium.links] == ["0" * 16, f"{1:016x}"], "it belongs to both turns"
    assert len(langfuse.storage_requests.all()) == 1
    assert sender.stats.sent == 2


@pytest.mark.parametrize("step", ["ask", "put"])
@pytest.mark.parametrize("code", [429, 502, 503, 504])
def test_what_may_pass_is_tried_again(store: Store, path: Path, langfuse: LangfuseSink, step: str, code: int) -> None:
    (langfuse.fail_next_api if step == "ask" else langfuse.fail_next_storage)(code, times=2)
    keep(store, PCM)
    sender = start(store, langfuse)
    [medium] = langfuse.api.media.reports.wait_count(1)
    assert sender.stop(5)
    assert medium.playable
    assert (sender.stats.failed_posts, sender.stats.sent, content(path)) == (2, 1, 0)


def test_a_report_that_fails_begins_all_three_steps_anew(store: Store, langfuse: LangfuseSink) -> None:
    upload = Upload("1" * 32, "2" * 16, "output", wav(PCM, 16_000)).encode()
    sending = transport(langfuse)
    langfuse.storage_requests.clear()
    real = langfuse.api.media.report
    langfuse.api.media.report = lambda request: Response(503)  # type: ignore[method-assign]
    assert isinstance(sending.post(upload), Again)
    langfuse.api.media.report = real  # type: ignore[method-assign]
    assert sending.post(upload) == Accepted()
    assert len(langfuse.storage_requests.all()) == 2
    assert langfuse.api.media.all()[0].playable
    sending.close()


@pytest.mark.parametrize("code", [400, 403, 413, 500])
def test_what_the_object_store_refuses_is_set_aside_and_langfuse_is_told(
    store: Store, path: Path, langfuse: LangfuseSink, code: int
) -> None:
    langfuse.fail_next_storage(code)
    keep(store, PCM, tone(0.2))
    sender = start(store, langfuse)
    langfuse.api.media.reports.wait_count(2)
    assert sender.stop(5)
    refused, taken = langfuse.api.media.all()
    assert [told for told, _ in refused.reported] == [code]
    assert (refused.playable, taken.playable) == (False, True)
    assert (sender.stats.rejected, sender.stats.sent, content(path)) == (1, 1, 1), "for a replay"
    [told] = rejections(path)
    assert (told.signal, told.records) == (Signal.MEDIA, 1)
    assert str(code) in told.reason


def test_wrong_keys_are_a_refusal_that_can_be_replayed(
    store: Store, path: Path, langfuse: LangfuseSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(store, PCM)
    sender = Sender(store, transport(langfuse, "sk-lf-wrong"), Signal.MEDIA)
    langfuse.api_requests.wait_count(1)
    assert sender.stop(5)
    assert "401" in rejections(path)[0].reason
    store.close()
    assert replay(path, Signal.MEDIA) == 1
    again = Store(path, send=[Signal.MEDIA])
    sender = start(again, langfuse)
    langfuse.api.media.reports.wait_count(1)
    assert sender.stop(5)
    again.close()
    assert content(path) == 0


@pytest.mark.parametrize(
    ("answer", "meant"),
    [
        (Response(201, b"<html>a proxy"), Refused),
        (Response(201, b"[]"), Refused),
        (Response(302, b"", headers={"Location": "/login"}), Refused),
        (Response(201, b'{"mediaId":"x","uploadUrl":"http://127.0.0.1:1/nobody"}'), Again),
        (Response(201, b'{"mediaId":"x","uploadUrl":null}'), Accepted),
    ],
)
def test_odd_answers_have_a_meaning(answer: Response, meant: type) -> None:
    with HttpServer(lambda _: answer) as server:
        sending = transport(server)
        assert isinstance(sending.post(Upload("1" * 32, "2" * 16, "input", b"RIFF").encode()), meant)
        sending.close()


def test_an_outage_and_a_restart_lose_nothing(store: Store, path: Path, langfuse: LangfuseSink) -> None:
    langfuse.stop()
    keep(store, PCM, tone(0.2))
    sender = start(store, langfuse)
    assert not sender.stop(5), "something is left"
    store.close()
    again = Store(path, send=[Signal.MEDIA])
    langfuse.start()
    sender = start(again, langfuse)
    langfuse.api.media.reports.wait_count(2)
    assert sender.stop(5)
    again.close()
    assert all(medium.playable for medium in langfuse.api.media.all())


def test_recordings_count_towards_the_size_of_the_store(path: Path) -> None:
    store = Store(path, send=[Signal.MEDIA], bounds=Bounds(max_bytes=2 << 20))
    minute = bytes(16_000 * 2 * 60)
    keep(store, *(minute + bytes([n, 0]) for n in range(4)))
    assert store.prune(2 << 20) + store.stats().dropped > 0
    store.close()


def test_audio_on_its_way_to_the_store_is_bounded(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(media_module, "MAX_PENDING_BYTES", len(PCM) - 1)
    media = Media(store)
    assert keep(store, PCM, PCM, media=media) == []
    assert media.dropped == 2
    assert [record.message for record in caplog.records] == [
        "the store cannot keep up: recordings are dropped (1 so far)"
    ]
    assert len(keep(store, PCM[:100], PCM[:200], PCM[:300], media=media)) == 3, "what has arrived takes no room"


def test_a_store_that_cannot_write_gets_no_recordings(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    media = Media(store)
    monkeypatch.setattr(store._writer, "failing", True)
    assert media.keep(TurnSound((Clip("input", [PCM], 16_000),), "1" * 32, "2" * 16, "s-1")).result(5) == ()
    assert media.dropped == 1


def test_a_clip_that_cannot_be_made_is_not_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICESPAN_RAISE", "0")
    broken = Clip("input", [PCM], rate_hz=-1)
    assert list(Media(store).keep(TurnSound((broken,), "1" * 32, "2" * 16, "s-1")).result(5)) == []


FORKS = """
import os, sys
from pathlib import Path
from voicespan.recording import Clip, TurnSound
from voicespan.sdk.pipeline import configure

pipeline = configure(Path(sys.argv[1]), service_version="1", set_global=False)
tracer = pipeline.tracer_provider.get_tracer("t")

def keep(pcm):
    tracer.start_span("as a session does").end()
    [kept] = pipeline.media.keep(TurnSound((Clip("input", [pcm], 16_000),), "1" * 32, "2" * 16, "s-1")).result(5)

keep(b"parent's")
if os.fork():
    assert os.wait()[1] == 0
    assert pipeline.shutdown(10)
else:
    keep(b"child's.")
    os._exit(0 if pipeline.shutdown(10) else 1)
"""


def test_parent_and_child_each_send_their_own(path: Path, langfuse: LangfuseSink) -> None:
    environ = {
        "PATH": os.environ["PATH"],
        "LANGFUSE_PUBLIC_KEY": langfuse.public_key,
        "LANGFUSE_SECRET_KEY": langfuse.secret_key,
        "LANGFUSE_BASE_URL": langfuse.base_url,
    }
    command = [sys.executable, "-c", FORKS, str(path)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    contents = {(medium.content or b"")[44:] for medium in langfuse.api.media.all() if medium.playable}
    assert contents == {b"parent's", b"child's."}


def test_a_pipeline_has_media_where_there_are_keys_and_brings_them_out(tmp_path: Path, langfuse: LangfuseSink) -> None:
    keys = {
        "LANGFUSE_PUBLIC_KEY": langfuse.public_key,
        "LANGFUSE_SECRET_KEY": langfuse.secret_key,
        "LANGFUSE_BASE_URL": langfuse.base_url,
    }
    without = configure(tmp_path / "a.db", service_version="0", set_global=False, environ={})
    assert without.media is None
    without.shutdown(5)
    pipeline = configure(tmp_path / "b.db", service_version="0", set_global=False, environ=keys)
    assert pipeline.media is not None
    pipeline.media.keep(TurnSound((Clip("output", [PCM], 24_000),), "1" * 32, "2" * 16, "s-1"))
    assert pipeline.shutdown(5)
    assert [medium.playable for medium in langfuse.api.media.all()] == [True]
