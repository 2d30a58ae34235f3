"""Figures of the session stores: `python tests/bench/sessions.py [--sessions 100000]`.

Prints one table. Redis is measured if a redis-server is on this machine.
"""

import argparse
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from kato_sessions.backend import Record
from kato_sessions.connect import open_store
from kato_sessions.model import Item, Session, now_ms
from kato_sessions.profile import KATO
from kato_sessions.store import Store

PROCESSES, APPENDS, READERS, READS = 8, 150, 100, 5
SPAWN = multiprocessing.get_context("spawn")


def timed(call: Callable[[], object]) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99) - 1]


def writer(url: str, answers: "multiprocessing.Queue[list[float]]") -> None:
    with open_store(url, profile=KATO) as store:
        answers.put([timed(lambda: append(store, "shared")) for _ in range(APPENDS)])


def append(store: Store, session_id: str) -> None:
    store.append(session_id, [Item(content="x" * 400)])


def appends_of_many(store: Store, url: str) -> str:
    store.create("shared")
    answers: multiprocessing.Queue[list[float]] = SPAWN.Queue()
    processes = [SPAWN.Process(target=writer, args=(url, answers)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    took = [one for _ in processes for one in answers.get(timeout=120)]
    for process in processes:
        process.join()
    seqs = [item.seq for item in store.items("shared", limit=1 << 30)]
    whole = seqs == list(range(1, PROCESSES * APPENDS + 1))
    return f"{p99(took):.1f} ms p99, {'none' if whole else 'SOME'} lost or doubled"


def append_to_long(store: Store) -> str:
    store.create("empty")
    store.create("long")
    store.append("long", [Item(content="x" * 400) for _ in range(10_000)])
    append(store, "long")
    pairs = [
        (timed(lambda: append(store, "empty")), timed(lambda: append(store, "long")))
        for _ in range(300)
    ]
    empty, long = (median(column) for column in zip(*pairs, strict=True))
    return f"{long / empty:.2f} x ({empty:.2f} and {long:.2f} ms)"


def workspace(store: Store) -> str:
    store.create("w")
    text = "x" * 60_000
    return f"{median(timed(lambda: store.put_workspace('w', text)) for _ in range(200)):.2f} ms"


def readers(store: Store) -> str:
    for number in range(READERS):
        store.create(f"r{number}")
        store.append(f"r{number}", [Item(content="x" * 400) for _ in range(100)])
    took: list[float] = []

    def read(number: int) -> None:
        took.extend(timed(lambda: store.items(f"r{number}", limit=100)) for _ in range(READS))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(READERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return f"{p99(took):.0f} ms p99"


def first_page(store: Store, sessions: int) -> str:
    now = now_ms()
    for number in range(sessions):
        store.put_record(Record(session=_session(f"b{number}", now - number)))
    page = median(timed(lambda: store.list(limit=100)) for _ in range(5))
    counted = median(timed(store.count) for _ in range(3))
    return f"{page:.1f} ms, count {counted:.1f} ms of {store.count()}"


def _session(session_id: str, at: int) -> Session:
    return Session(
        id=session_id,
        created_at=at,
        last_access=at,
        last_write=at,
        idle_ttl_ms=3_600_000_000,
        max_life_ms=None,
        expires_at=at + 3_600_000_000,
    )


@contextmanager
def redis_url(folder: Path) -> Iterator[str]:
    place = folder / "redis.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", place, "--save", ""]
    server = subprocess.Popen([*command, "--dir", folder], stdout=subprocess.DEVNULL)
    try:
        while not place.exists():
            time.sleep(0.01)
        yield f"unix://{place}"
    finally:
        server.terminate()
        server.wait(10)


def measure(name: str, url: str, sessions: int) -> None:
    with open_store(url, profile=KATO) as store:
        if name != "memory":
            show(name, "append, 8 processes", appends_of_many(store, url))
        show(name, "append to 10,000 items", append_to_long(store))
        show(name, "workspace of 60 kB", workspace(store))
        show(name, "100 readers of 100", readers(store))
        count = min(sessions, 1_000) if name == "files" else sessions
        show(name, f"first page of {count}", first_page(store, count))


def show(*columns: str) -> None:
    sys.stdout.write("{:8} {:24} {}\n".format(*columns))
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=100_000)
    sessions = parser.parse_args().sessions
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        measure("memory", "memory:", sessions)
        measure("sqlite", f"sqlite:{folder}/sessions.db", sessions)
        measure("files", f"files:{folder}/sessions", sessions)
        if shutil.which("redis-server"):
            with redis_url(folder) as url:
                measure("redis", url, sessions)


if __name__ == "__main__":
    main()
