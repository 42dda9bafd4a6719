"""`voicespan store`: what waits, what was refused and why, once more with it, and away with what is old."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from support.otlp_sink import OtlpHttpSink
from support.stores import end_spans, path, rejected_count, store, waiting
from voicespan.sdk import maintenance
from voicespan.sdk.database import StoreError
from voicespan.sdk.endpoint import Endpoint
from voicespan.sdk.sender import Sender
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Store
from voicespan.sdk.transport import transport_for

__all__ = ["path", "store"]


def reject(store: Store, reason: str, limit: int = 1_000) -> None:
    store.rejected(waiting(store, limit), reason)


def test_status_counts_what_waits_and_what_was_refused_by_signal(store: Store, path: Path) -> None:
    end_spans(store, "one", "two")
    reject(store, "HTTP 400 no", limit=1)
    found = maintenance.status(path)
    assert (found.processes, found.open_sessions, found.rejected) == (1, 0, 1)
    assert found.size_bytes > 0
    traces, logs, scores, media = found.signals
    assert (traces.records, traces.queued, traces.rejected) == (2, 1, 1)
    assert traces.oldest_queued_age_s is not None
    assert traces.oldest_queued_age_s < 60
    assert (logs.records, logs.oldest_queued_age_s, scores.records, media.records) == (0, None, 0, 0)


def test_rejections_are_told_by_reason_the_most_first(store: Store, path: Path) -> None:
    end_spans(store, "one")
    reject(store, "HTTP 401 who are you")
    end_spans(store, "two", "three")
    reject(store, "HTTP 400 no")
    told = [(r.signal, r.reason, r.records) for r in maintenance.rejections(path)]
    assert told == [(Signal.TRACES, "HTTP 400 no", 2), (Signal.TRACES, "HTTP 401 who are you", 1)]


def test_what_is_replayed_is_taken_by_a_process_that_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicespan.sdk.store.ADOPT_EVERY_S", 0.05)
    store = Store(path, send=[Signal.TRACES])
    with OtlpHttpSink() as receiver:
        sender = Sender(store, transport_for(Endpoint(f"{receiver.base_url}/v1/traces")))
        receiver.fail_next(400)
        end_spans(store, "refused")
        receiver.requests.wait_count(1)
        while not rejected_count(store):
            store.flush(5)
        assert maintenance.replay(path, Signal.LOGS) == 0
        assert maintenance.replay(path) == 1
        assert [span.name for span in receiver.spans.wait_count(1)] == ["refused"]
        assert sender.stop(5)
    assert rejected_count(store) == 0
    store.close()


def test_pruning_spares_what_has_to_be_sent_and_gives_the_space_back(store: Store, path: Path) -> None:
    end_spans(store, *(f"sent {n}" for n in range(500)), text="x" * 2_000)
    batch = waiting(store)
    store.accepted(batch)
    end_spans(store, "waits")
    found = maintenance.prune(path, 0, None, forget_rejections=False)
    assert (found.records, found.waiting, found.forgotten_rejections) == (500, 1, 0)
    assert found.size_after_bytes < found.size_before_bytes / 5
    assert store.queued(Signal.TRACES) == 1
    end_spans(store, "goes on")
    assert maintenance.status(path).signals[0].records == 2


def test_pruning_by_age_leaves_the_young(store: Store, path: Path) -> None:
    end_spans(store, "refused long ago")
    reject(store, "no")
    with store.locked() as database:
        database.execute("UPDATE records SET written_s = written_s - 1000")
        database.commit()
    end_spans(store, "young")
    batch = waiting(store)
    store.accepted(batch)
    assert maintenance.prune(path, None, 999, forget_rejections=False).records == 0
    found = maintenance.prune(path, None, 999, forget_rejections=True)
    assert (found.records, found.forgotten_rejections, found.waiting) == (1, 1, 0)
    assert maintenance.status(path).signals[0].records == 1


@pytest.mark.parametrize(
    "command",
    [maintenance.replay, lambda path: maintenance.prune(path, None, 0.0, forget_rejections=True)],
    ids=["replay", "prune"],
)
def test_a_store_that_cannot_be_written_is_told_in_a_line(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[[Path], object]
) -> None:
    monkeypatch.setattr("voicespan.sdk.database.BUSY_S", 0.0)
    end_spans(store, "one")
    with closing(sqlite3.connect(path)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=f"{path} cannot be written: database is locked"):
            command(path)
