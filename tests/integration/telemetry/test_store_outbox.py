"""What waits to be sent: it leaves when a receiver has it, goes over to the living, and is bounded."""

import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from support.stores import end_spans, names_in, path, rejected_count, store, waiting
from voicespan.sdk.database import open_for_reading
from voicespan.sdk.reading import reader
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Store

__all__ = ["path", "store"]


def test_a_span_leaves_the_outbox_when_it_is_accepted_and_stays_in_the_history(store: Store, path: Path) -> None:
    end_spans(store, "one", "two")
    batch = waiting(store, 1)
    assert names_in(batch) == ["one"]
    store.accepted(batch)
    assert store.stats().queued[Signal.TRACES] == 1
    assert names_in(waiting(store)) == ["two"]
    with reader(path) as traces:
        assert sum(summary.spans for summary in traces.latest(10)) == 2


def test_what_is_refused_is_set_aside_with_its_reason(store: Store, path: Path) -> None:
    end_spans(store, "one")
    batch = waiting(store)
    store.rejected(batch, "HTTP 400 bad")
    assert store.next_batch(Signal.TRACES, 10, 1 << 20) is None
    assert (store.queued(Signal.TRACES), rejected_count(store)) == (0, 1)
    assert open_for_reading(path).execute("SELECT rejected FROM outbox").fetchall() == [("HTTP 400 bad",)]


def test_batches_are_bounded_in_bytes_but_never_empty(store: Store) -> None:
    end_spans(store, "one", "two", "three")
    assert names_in(waiting(store, max_bytes=1)) == ["one"]


def test_without_a_receiver_nothing_waits_to_be_sent(path: Path) -> None:
    store = Store(path, send=[])
    end_spans(store, "one")
    assert store.stats().queued == {}
    assert store.stats().written == 1
    store.close()


def test_unsent_spans_of_a_process_that_is_gone_are_adopted(path: Path) -> None:
    first = Store(path, send=[Signal.TRACES])
    end_spans(first, "left behind")
    first.close()
    second = Store(path, send=[Signal.TRACES])
    assert names_in(waiting(second)) == ["left behind"]
    second.close()


@pytest.mark.parametrize(
    ("name", "theirs"), [("calls.db",) * 2, ("calls [1] *?.db",) * 2, ("calls.db", "link.db"), ("link.db", "calls.db")]
)
def test_unsent_spans_of_a_process_that_lives_are_left_to_it(tmp_path: Path, name: str, theirs: str) -> None:
    (tmp_path / "link.db").symlink_to("elsewhere.db" if name == theirs else "calls.db")
    path = tmp_path / name
    program = f"""
    import sys
    from pathlib import Path
    from opentelemetry.sdk.trace import TracerProvider
    from voicespan.sdk.processors import StoreProcessor
    from voicespan.sdk.signals import Signal
    from voicespan.sdk.store import Store
    store = Store(Path({str(tmp_path / theirs)!r}), send=[Signal.TRACES])
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(StoreProcessor(store))
    provider.get_tracer("t").start_span("theirs").end()
    store.flush(5)
    print("ready", flush=True)
    sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        meanwhile = Store(path, send=[Signal.TRACES])
        assert meanwhile.next_batch(Signal.TRACES, 10, 1 << 20) is None
        meanwhile.close()
        other.kill()
        other.wait()
    afterwards = Store(path, send=[Signal.TRACES])
    assert names_in(waiting(afterwards)) == ["theirs"]
    afterwards.close()


def test_a_long_outbox_is_adopted_in_steps(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Store(path, send=[Signal.TRACES])
    end_spans(first, *(f"span {n}" for n in range(25)))
    first.close()
    monkeypatch.setattr("voicespan.sdk.store.ADOPT_STEP_RECORDS", 10)
    second = Store(path, send=[Signal.TRACES])
    woken = threading.Semaphore(0)
    second.on_commit(Signal.TRACES, woken.release)
    while second.queued(Signal.TRACES) < 25:
        assert woken.acquire(timeout=5)
    assert names_in(waiting(second)) == [f"span {n}" for n in range(25)]
    second.close()


def test_a_full_store_drops_its_oldest_and_counts(store: Store, path: Path) -> None:
    end_spans(store, *(f"span {n}" for n in range(3_000)))
    used = store._tables.used_bytes()
    lost = store.prune(used * 3 // 4)
    assert 0 < lost < 3_000
    assert store.stats().dropped == lost
    with reader(path) as traces:
        kept = {summary.name for summary in traces.latest(5_000)}
    assert "span 2999" in kept
    assert "span 0" not in kept


def test_only_the_oldest_are_dropped(store: Store, path: Path) -> None:
    end_spans(store, *(f"span {n}" for n in range(1_000)))
    store.prune(store._tables.used_bytes() - 1)
    with reader(path) as traces:
        kept = {summary.name for summary in traces.latest(5_000)}
    assert kept == {f"span {n}" for n in range(200, 1_000)}


def test_who_does_not_send_leaves_unsent_spans_to_those_who_do(path: Path) -> None:
    first = Store(path, send=[Signal.TRACES])
    end_spans(first, "left behind")
    first.close()
    Store(path, send=[]).close()
    sender = Store(path, send=[Signal.TRACES])
    assert sender.stats().queued[Signal.TRACES] == 1
    sender.close()
    assert not list(path.parent.glob("*.lock"))


def test_what_is_too_old_is_dropped_and_counted(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(path, send=[Signal.TRACES])
    end_spans(store, "old")
    with store.locked() as database:
        database.execute("UPDATE records SET written_s = written_s - 1000")
        database.commit()
    end_spans(store, "young")
    store.prune(1 << 30, max_age_s=999)
    assert names_in(waiting(store)) == ["young"]
    assert (store.stats().dropped, store.stats().queued[Signal.TRACES]) == (1, 1)
    assert "the oldest 1 unsent records were dropped" in caplog.text
    store.close()
