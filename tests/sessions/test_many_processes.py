"""Several processes on one store: nothing lost, doubled or torn, even when one is killed."""

import multiprocessing
import signal
import sqlite3
import time

import pytest

from kato_sessions.connect import open_store
from kato_sessions.errors import StoreUnavailable
from kato_sessions.model import Item
from kato_sessions.profile import KATO

PROCESSES = 8
APPENDS = 150
FORK = multiprocessing.get_context("spawn")


def _append(url, session_id, name, count):
    with open_store(url, profile=KATO) as store:
        for number in range(count):
            store.append(session_id, [Item(content=f"{name}-{number}")])


def _append_pairs_for_ever(url, name, started):
    store = open_store(url, profile=KATO)
    number = 0
    while True:
        pair = [Item(content=f"{name}-{number}-a"), Item(content=f"{name}-{number}-b")]
        store.append("s", pair, idempotency_key=f"{name}-{number}")
        number += 1
        started.set()


def _patch(url, name, count):
    with open_store(url, profile=KATO) as store:
        for number in range(count):
            store.patch("s", {"context": {f"{name}-{number}": 1}})


def _make(url, barrier, name):
    barrier.wait(30)
    with open_store(url, profile=KATO) as store:
        store.create(f"s-{name}")


def run_all(*calls):
    processes = [FORK.Process(target=target, args=args) for target, *args in calls]
    for process in processes:
        process.start()
    for process in processes:
        process.join(90)
    return [process.exitcode for process in processes]


def test_eight_processes_append_without_loss(persistent_url):
    store = open_store(persistent_url, profile=KATO)
    store.create("s")

    codes = run_all(*((_append, persistent_url, "s", name, APPENDS) for name in range(PROCESSES)))

    assert codes == [0] * PROCESSES
    items = store.items("s", limit=10_000)
    assert [item.seq for item in items] == list(range(1, PROCESSES * APPENDS + 1))
    assert {item.content for item in items} == {
        f"{name}-{number}" for name in range(PROCESSES) for number in range(APPENDS)
    }
    store.close()


def test_concurrent_patches_keep_every_key(persistent_url):
    store = open_store(persistent_url, profile=KATO)
    store.create("s")
    assert run_all(*((_patch, persistent_url, name, 50) for name in range(4))) == [0] * 4

    session = store.get("s")
    assert (len(session.context), session.version) == (200, 201)
    store.close()


def test_processes_that_open_a_new_store_together_all_succeed(persistent_url):
    barrier = FORK.Barrier(6)
    assert run_all(*((_make, persistent_url, barrier, name) for name in range(6))) == [0] * 6
    with open_store(persistent_url, profile=KATO) as store:
        assert store.count() == 6


def test_a_writer_killed_at_any_moment_leaves_no_half_batch(persistent_url):
    with open_store(persistent_url, profile=KATO) as store:
        store.create("s")
    for name in range(3):
        started = FORK.Event()
        writer = FORK.Process(target=_append_pairs_for_ever, args=(persistent_url, name, started))
        writer.start()
        assert started.wait(30)
        time.sleep(0.02 * name)  # a different moment each time; nothing is waited for
        writer.kill()
        writer.join(10)
        assert writer.exitcode == -signal.SIGKILL

    with open_store(persistent_url, profile=KATO) as store:
        store.append("s", [Item(content="after")])
        items = store.items("s", limit=1_000_000)
        assert [item.seq for item in items] == list(range(1, len(items) + 1))
        assert store.get("s").counters.items == len(items)
        batches = [item.content.rpartition("-")[0] for item in items[:-1]]
        assert batches[::2] == batches[1::2]


def test_a_reader_never_sees_a_half_batch(persistent_url):
    store = open_store(persistent_url, profile=KATO)
    store.create("s")
    started = FORK.Event()
    writer = FORK.Process(target=_append_pairs_for_ever, args=(persistent_url, "w", started))
    writer.start()
    try:
        assert started.wait(30)
        seen = [store.record("s") for _ in range(50)]
    finally:
        writer.kill()
        writer.join(10)
    assert all(len(record.items) == record.session.counters.items for record in seen)
    assert all(len(record.items) % 2 == 0 for record in seen)
    store.close()


def test_a_database_locked_by_another_is_waited_for(tmp_path):
    store = open_store(f"sqlite:{tmp_path}/a.db", profile=KATO)
    store.create("s")
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    import threading

    done = threading.Thread(target=store.append, args=("s", [Item(content="x")]))
    done.start()
    other.execute("COMMIT")
    done.join(10)
    other.close()
    assert [item.content for item in store.items("s")] == ["x"]
    store.close()


@pytest.mark.parametrize("kind", ["sqlite", "files"])
def test_a_store_goes_on_after_a_fork(kind, url_of):
    store = open_store(url_of(kind), profile=KATO)
    store.create("s")
    child = multiprocessing.get_context("fork").Process(
        target=store.append, args=("s", [Item(content="child")])
    )
    child.start()
    store.append("s", [Item(content="parent")])
    child.join(20)

    assert child.exitcode == 0
    assert sorted(item.content for item in store.items("s")) == ["child", "parent"]
    store.close()


def test_a_full_disk_is_told_and_the_next_write_goes_on(tmp_path):
    with open_store(f"sqlite:{tmp_path}/a.db") as store:
        store.create("s")
        with store.backend.connections.writing() as db:
            pages = db.execute("PRAGMA page_count").fetchone()[0]
            db.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StoreUnavailable, match="full"):
            store.append("s", [Item(content="x" * 1_000_000)])
        with store.backend.connections.writing() as db:
            db.execute("PRAGMA max_page_count = 1000000")

        store.append("s", [Item(content="then")])

        assert [item.content for item in store.items("s")] == ["then"]
