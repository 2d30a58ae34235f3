"""The SQLite file of a node: its tables, its format, and opening it beside other processes.

patterns          id, name (bare SHA-1), events (JSON), length, frequency, revision
pattern_metadata  pattern, emotives (JSON list), metadata (JSON object)
global_metadata   node_id, revision, generation, training, vector_dimension
symbol_affinities symbol, emotive, total
vectors           id, name, elements (float64)
trained           pattern, the entropies fixed by finalize-training
lessons           learner, the last batch of it that was learned
"""

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

FORMAT = 1
_BUSY_S = 10.0
_RETRY_S = 0.01
_SCHEMA = """
CREATE TABLE IF NOT EXISTS patterns (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    events TEXT NOT NULL,
    length INTEGER NOT NULL,
    frequency INTEGER NOT NULL,
    revision INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS patterns_by_revision ON patterns (revision);
CREATE TABLE IF NOT EXISTS pattern_metadata (
    pattern INTEGER PRIMARY KEY REFERENCES patterns (id) ON DELETE CASCADE,
    emotives TEXT NOT NULL,
    metadata TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS global_metadata (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS symbol_affinities (
    symbol TEXT NOT NULL,
    emotive TEXT NOT NULL,
    total REAL NOT NULL,
    PRIMARY KEY (symbol, emotive)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vectors (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    elements BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS trained (
    pattern INTEGER PRIMARY KEY REFERENCES patterns (id) ON DELETE CASCADE,
    entropy REAL NOT NULL,
    normalized_entropy REAL NOT NULL,
    global_normalized_entropy REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS lessons (learner TEXT PRIMARY KEY, last INTEGER NOT NULL)
STRICT, WITHOUT ROWID;
"""


class UnknownFormat(sqlite3.DatabaseError):
    """A file that a newer version has written."""


def connected(path: Path, node_id: str) -> sqlite3.Connection:
    """Open the node's file, making it if absent; raises UnknownFormat."""
    connection = _opened(path)
    version = number(connection, "PRAGMA user_version")
    if version > FORMAT:
        connection.close()
        raise UnknownFormat(f"{path} has format {version}, this version knows {FORMAT}")
    if version < FORMAT:
        _make(connection, node_id)
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Read-then-write is safe inside. Anything raised rolls it back."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def number(connection: sqlite3.Connection, query: str, parameters: Sequence[object] = ()) -> int:
    """The one integer that a query gives."""
    value: int = connection.execute(query, parameters).fetchone()[0]
    return value


def _make(connection: sqlite3.Connection, node_id: str) -> None:
    """Another process may just have made it: every statement may be repeated."""
    with transaction(connection):
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        counters = dict.fromkeys(("revision", "generation", "training", "vector_dimension"), 0)
        connection.executemany(
            "INSERT OR IGNORE INTO global_metadata VALUES (?, ?)",
            [("node_id", node_id), *counters.items()],
        )
        connection.execute(f"PRAGMA user_version = {FORMAT}")


def _opened(path: Path) -> sqlite3.Connection:
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(
        path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
    )
    _use_journal(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _use_journal(connection: sqlite3.Connection) -> None:
    """Processes that open a file at once find it locked, which no busy timeout covers."""
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)
        else:
            return
