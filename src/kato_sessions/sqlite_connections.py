"""Connections of one process to a SQLite file: WAL, one writer, a few readers, never stuck.

Every read-then-write is `BEGIN IMMEDIATE`: a deferred transaction that turns into a writer fails
at once whatever the busy timeout. Reads use a small pool, because a hundred threads fetching rows
through a hundred connections wait for each other more than for the disk.
"""

import os
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kato_sessions import schema
from kato_sessions.errors import StoreUnavailable

BUSY_TIMEOUT_S = 10.0
READERS = 4


class Connections:
    """One writing connection and a few reading ones per process; made anew after a fork."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._pid = 0
        self._open()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that nobody else writes beside."""
        self._check()
        with self._lock, _meaning(self.path):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # a full disk may have ended it
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        self._check()
        readers = self._readers
        db = readers.get()
        try:
            with _meaning(self.path):
                yield db
        finally:
            readers.put(db)

    @contextmanager
    def within(self) -> Iterator[sqlite3.Connection]:
        """Inside a change: the writer's own connection, which sees what is not committed yet."""
        with self._lock:
            yield self._writer

    def compact(self) -> None:
        """Rewrite the file without what was replaced or deleted."""
        self._check()
        with self._lock, _meaning(self.path):
            self._writer.execute("VACUUM")
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        with self._lock:
            if self._pid != os.getpid():
                return
            self._writer.close()
            while not self._readers.empty():
                self._readers.get().close()
            self._pid = -1

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._writer = connect(self.path)
            schema.prepare(self._writer, self.path)
        except (OSError, sqlite3.Error) as error:
            raise StoreUnavailable(
                f"cannot open the session database {self.path}: {error}",
                hint="check that its folder exists and can be written",
            ) from error
        self._readers: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        for _ in range(READERS):
            self._readers.put(connect(self.path))
        self._pid = os.getpid()

    def _check(self) -> None:
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid == -1:
                raise StoreUnavailable(f"the session database {self.path} is closed")
            if self._pid != os.getpid():
                self._lock = threading.RLock()
                self._open()


@contextmanager
def _meaning(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailable(f"session database {path}: {error}") from error


@contextmanager
def closing(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    try:
        yield db
    finally:
        db.close()


def connect(path: Path) -> sqlite3.Connection:
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    db = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    _switch_to_wal(db)
    db.execute("PRAGMA synchronous = NORMAL")
    return db


def _switch_to_wal(db: sqlite3.Connection) -> None:
    """Several processes opening at once find the file locked, which no busy timeout covers."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
