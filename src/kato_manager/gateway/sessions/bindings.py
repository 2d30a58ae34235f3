"""Which instance keeps the memory of a node: stored, outlives sessions, changed by command only.

`$KATO_HOME/bindings.db`, a SQLite file with the table `bindings`. So two sessions of a node meet
the same memory, whatever starts or stops meanwhile.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kato_sessions.model import now_ms

_BUSY_S = 10.0
_SCHEMA = """\
CREATE TABLE IF NOT EXISTS bindings (
    node_id TEXT PRIMARY KEY, instance TEXT NOT NULL, bound_at INTEGER NOT NULL, how TEXT NOT NULL
) STRICT
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """`how`: `hash` = chosen at the first session, `command` = by `kato sessions bind`."""

    node_id: str
    instance: str
    bound_at: int  # UTC ms
    how: str


class Bindings:
    """Safe between threads and processes: every call is one transaction of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        with self._open() as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(_SCHEMA)

    def get(self, node_id: str) -> Binding | None:
        with self._open() as db:
            row = db.execute("SELECT * FROM bindings WHERE node_id = ?", (node_id,)).fetchone()
        return _binding(row) if row else None

    def bind_if_absent(self, node_id: str, instance: str) -> Binding:
        """The binding that holds, this one or an earlier one."""
        with self._open() as db:
            db.execute(
                "INSERT INTO bindings VALUES (?, ?, ?, 'hash') ON CONFLICT DO NOTHING",
                (node_id, instance, now_ms()),
            )
            row = db.execute("SELECT * FROM bindings WHERE node_id = ?", (node_id,)).fetchone()
        return _binding(row)

    def bind(self, node_id: str, instance: str) -> Binding | None:
        """Bind anew by command; gives what held before."""
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            row = db.execute("SELECT * FROM bindings WHERE node_id = ?", (node_id,)).fetchone()
            db.execute(
                "INSERT OR REPLACE INTO bindings VALUES (?, ?, ?, 'command')",
                (node_id, instance, now_ms()),
            )
            db.execute("COMMIT")
        return _binding(row) if row else None

    def all(self) -> list[Binding]:
        with self._open() as db:
            return [_binding(row) for row in db.execute("SELECT * FROM bindings ORDER BY node_id")]

    def close(self) -> None:
        with self._lock:
            if self._connection:
                self._connection.close()
            self._connection = None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One connection, a thread at a time: opening it costs ten times what asking does."""
        with self._lock:
            if self._connection is None:
                self._connection = sqlite3.connect(
                    self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
                )
            try:
                yield self._connection
            finally:
                self._connection.rollback()  # nothing, unless a statement failed half way


def _binding(row: tuple[str, str, int, str]) -> Binding:
    node_id, instance, bound_at, how = row
    return Binding(node_id=node_id, instance=instance, bound_at=bound_at, how=how)
