"""Sessions in one SQLite file that several processes share: WAL, one writer at a time, never stuck.

Every read-then-write is `BEGIN IMMEDIATE`: a deferred transaction that turns into a writer fails
at once whatever the busy timeout. Reads use a small pool, because a hundred threads fetching rows
through a hundred connections wait for each other more than for the disk.

    sessions    one row each, `doc` = the record as JSON, the other columns are indexes of it
    items       (session_id, seq), `doc` = the item as JSON
    workspaces  opaque text, apart from `sessions` so that lists never load it
    leases      name, holder, until
    chat_sessions, chat_messages    views for the monitoring SQL of the chat guide
"""

import os
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from kato_sessions import schema
from kato_sessions.backend import (
    Change,
    Filter,
    Full,
    Limits,
    Position,
    Record,
    Write,
    full,
    parsed_items,
    parsed_session,
    readable_session,
    set_aside,
)
from kato_sessions.errors import InvalidSession, RecordCorrupt, StoreUnavailable
from kato_sessions.gate import Gate
from kato_sessions.model import Item, Session, dumps

BUSY_TIMEOUT_S = 10.0
READERS = 4
_BROKEN_ITEMS = """
SELECT session_id, seq FROM items
WHERE CASE WHEN json_valid(doc) THEN json_type(doc) <> 'object' ELSE 1 END
"""


class SqliteBackend:
    """One writing connection and a few reading ones per process; made anew after a fork."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._gate = Gate(1)
        self._lock = threading.RLock()
        self._pid = 0
        self._open()

    # Changes

    def insert(self, session_id: str, change: Change, limits: Limits) -> Session | Full:
        with self._writing() as db:
            write = change(_read(db, session_id))
            if write is None:
                raise InvalidSession(f"nothing to insert for {session_id!r}")
            if reached := full(partial(_count, db), write.session, limits):
                return reached
            _apply(db, write)
            return write.session

    def update(self, session_id: str, change: Change) -> Session | None:
        with self._writing() as db:
            found = _read(db, session_id)
            write = change(found)
            if write is None:
                return found
            _apply(db, write)
            return write.session

    def remove(self, session_id: str, *, due_at: int | None) -> bool:
        with self._writing() as db:
            row = db.execute(
                "SELECT 1 FROM sessions WHERE id = ? AND due_at IS ?", (session_id, due_at)
            ).fetchone()
            if row:
                _remove(db, session_id)
            return row is not None

    def lease(self, name: str, holder: str, *, now: int, ttl_ms: int) -> bool:
        with self._writing() as db:
            taken = db.execute(
                "INSERT INTO leases VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE"
                " SET holder = excluded.holder, until = excluded.until"
                " WHERE leases.holder = excluded.holder OR leases.until <= ?",
                (name, holder, now + ttl_ms, now),
            )
            return taken.rowcount == 1

    # Reading

    def read(self, session_id: str) -> Session | None:
        with self._reading() as db:
            return _read(db, session_id)

    def read_with_workspace(self, session_id: str) -> tuple[Session, str] | None:
        with self._reading() as db:
            row = db.execute(
                "SELECT s.doc, coalesce(w.text, '') FROM sessions s"
                " LEFT JOIN workspaces w ON w.session_id = s.id WHERE s.id = ?",
                (session_id,),
            ).fetchone()
        return row and (parsed_session(session_id, row[0]), row[1])

    def read_record(self, session_id: str) -> Record | None:
        with self._reading() as db:
            db.execute("BEGIN")
            try:
                session = _read(db, session_id)
                if session is None:
                    return None
                text = db.execute(
                    "SELECT text FROM workspaces WHERE session_id = ?", (session_id,)
                ).fetchone()
                items = _items(db, session_id, 0, None, 1 << 62, newest=False)
            finally:
                db.execute("COMMIT")
        return Record(session=session, items=tuple(items), workspace=text[0] if text else "")

    def items(
        self, session_id: str, *, after: int, before: int | None, limit: int, newest: bool
    ) -> list[Item]:
        with self._gate.turn(), self._reading() as db:
            return _items(db, session_id, after, before, limit, newest=newest)

    def keyed_items(self, session_id: str, key: str) -> list[Item]:
        with self._same_connection() as db:
            rows = db.execute(
                "SELECT doc FROM items WHERE session_id = ? AND idempotency_key = ? ORDER BY seq",
                (session_id, key),
            ).fetchall()
        return parsed_items(session_id, f"[{','.join(row[0] for row in rows)}]")

    def page(self, wanted: Filter, *, after: Position | None, limit: int) -> list[Session]:
        where, values = _where(wanted)
        # The plus keeps SQLite from the index by state, after which it would sort every session.
        where = where.replace("state =", "+state =")
        if after:
            where += " AND (created_at, id) < (?, ?)"
            values += after
        with self._reading() as db:
            rows = db.execute(
                f"SELECT id, doc FROM sessions WHERE {where}"  # noqa: S608 - our own words
                " ORDER BY created_at DESC, id DESC",
                values,
            )
            found = (readable_session(*row) for row in rows)
            return list(islice(filter(None, found), limit))

    def count(self, wanted: Filter) -> int:
        with self._reading() as db:
            return _count(db, wanted)

    def due(self, *, now: int, limit: int) -> list[str]:
        with self._reading() as db:
            rows = db.execute(
                "SELECT id FROM sessions WHERE due_at <= ? ORDER BY due_at LIMIT ?", (now, limit)
            ).fetchall()
        return [row[0] for row in rows]

    def oldest_idle(self, wanted: Filter) -> str | None:
        where, values = _where(wanted)
        with self._reading() as db:
            row = db.execute(
                f"SELECT id FROM sessions WHERE {where} AND due_at IS NOT NULL"  # noqa: S608
                " ORDER BY last_access LIMIT 1",
                values,
            ).fetchone()
        return row and str(row[0])

    def size_bytes(self) -> int:
        """The database file with its write-ahead log."""
        places = (self.path, Path(f"{self.path}-wal"))
        return sum(place.stat().st_size for place in places if place.exists())

    def corrupt(self, *, quarantine: bool) -> Iterator[tuple[str, str]]:
        """Records and items that do not parse; quarantined ones move to the table `quarantine`."""
        with self._writing() as db:
            rows = db.execute("SELECT id, doc FROM sessions").fetchall()
            broken = [(row[0], reason) for row in rows if (reason := _broken(*row))]
            for session_id, reason in broken:
                if quarantine:
                    _quarantine(db, session_id, reason)
            items = db.execute(_BROKEN_ITEMS).fetchall()
            for session_id, seq in items if quarantine else ():
                _quarantine_item(db, session_id, seq)
        yield from broken
        for session_id, seq in items:
            yield f"{session_id}, item {seq}", "cannot be read"

    def info(self) -> dict[str, Any]:
        return {"type": "sqlite", "place": str(self.path)}

    def backup(self, target: Path) -> None:
        """A consistent copy while others write; a plain `cp` would miss the write-ahead log."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._reading() as db, _closing(_connect(target)) as copy:
            db.backup(copy)
        target.chmod(0o600)

    def compact(self) -> None:
        """Give free room back; what was replaced or deleted is in no part of the file then."""
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

    # Connections

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._writer = _connect(self.path)
            schema.prepare(self._writer, self.path)
        except (OSError, sqlite3.Error) as error:
            raise StoreUnavailable(
                f"cannot open the session database {self.path}: {error}",
                hint="check that its folder exists and can be written",
            ) from error
        self._readers: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        for _ in range(READERS):
            self._readers.put(_connect(self.path))
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
    def _writing(self) -> Iterator[sqlite3.Connection]:
        self._check()
        with self._lock, _meaning(self.path):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        self._check()
        readers = self._readers
        db = readers.get()
        try:
            with _meaning(self.path):
                yield db
        finally:
            readers.put(db)

    @contextmanager
    def _same_connection(self) -> Iterator[sqlite3.Connection]:
        """Inside a change the writer's own connection sees what is not committed yet."""
        with self._lock:
            yield self._writer


@contextmanager
def _meaning(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailable(f"session database {path}: {error}") from error


@contextmanager
def _closing(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    try:
        yield db
    finally:
        db.close()


def _connect(path: Path) -> sqlite3.Connection:
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


def _broken(session_id: str, doc: str) -> str | None:
    try:
        parsed_session(session_id, doc)
    except RecordCorrupt as error:
        return str(error)
    return None


def _quarantine(db: sqlite3.Connection, session_id: str, reason: str) -> None:
    db.execute(
        "INSERT INTO quarantine SELECT id, doc, ? FROM sessions WHERE id = ?", (reason, session_id)
    )
    db.execute("DELETE FROM sessions WHERE id = ?", (session_id,))


def _quarantine_item(db: sqlite3.Connection, session_id: str, seq: int) -> None:
    at = (session_id, seq)
    db.execute(
        "INSERT INTO quarantine SELECT session_id, doc, 'item ' || seq FROM items"
        " WHERE session_id = ? AND seq = ?",
        at,
    )
    stand_in = dumps(set_aside(session_id, seq).to_json())
    db.execute("UPDATE items SET doc = ? WHERE session_id = ? AND seq = ?", (stand_in, *at))


def _read(db: sqlite3.Connection, session_id: str) -> Session | None:
    row = db.execute("SELECT doc FROM sessions WHERE id = ?", (session_id,)).fetchone()
    return row and parsed_session(session_id, row[0])


def _items(
    db: sqlite3.Connection,
    session_id: str,
    after: int,
    before: int | None,
    limit: int,
    *,
    newest: bool,
) -> list[Item]:
    """One row with all documents: fetching row by row would give up the GIL at each."""
    order = "DESC" if newest else "ASC"
    row = db.execute(
        "SELECT '[' || group_concat(doc, ',') || ']' FROM"  # noqa: S608 - our own words
        " (SELECT seq, doc FROM items WHERE session_id = ? AND seq > ? AND seq < ?"
        f" ORDER BY seq {order} LIMIT ?)",
        (session_id, after, (1 << 62) if before is None else before, limit),
    ).fetchone()
    found = parsed_items(session_id, row[0] or "[]")
    return found[::-1] if newest else found


def _where(wanted: Filter) -> tuple[str, tuple[Any, ...]]:
    where, values = ["1"], []
    for column, value in (("user_id", wanted.user_id), ("node_id", wanted.node_id)):
        if value is not None:
            where.append(f"{column} = ?")
            values.append(value)
    if wanted.live_at is not None:
        where.append("state = 'active' AND (due_at IS NULL OR due_at > ?)")
        values.append(wanted.live_at)  # type: ignore[arg-type]
    return " AND ".join(where), tuple(values)


def _count(db: sqlite3.Connection, wanted: Filter) -> int:
    where, values = _where(wanted)
    query = f"SELECT count(*) FROM sessions WHERE {where}"  # noqa: S608 - our own words
    return int(db.execute(query, values).fetchone()[0])


def _apply(db: sqlite3.Connection, write: Write) -> None:
    session = write.session
    db.execute(
        "INSERT INTO sessions (id, user_id, node_id, state, created_at, last_access, due_at, doc)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
        " user_id = excluded.user_id, node_id = excluded.node_id, state = excluded.state,"
        " created_at = excluded.created_at, last_access = excluded.last_access,"
        " due_at = excluded.due_at, doc = excluded.doc",
        (
            session.id,
            session.user_id,
            session.node_id,
            session.state.value,
            session.created_at,
            session.last_access,
            session.due_at,
            dumps(session.to_json()),
        ),
    )
    if write.keep_items == 0:
        db.execute("DELETE FROM items WHERE session_id = ?", (session.id,))
    db.executemany(
        "INSERT INTO items (session_id, seq, idempotency_key, doc) VALUES (?, ?, ?, ?)",
        [
            (session.id, item.seq, item.idempotency_key, dumps(item.to_json()))
            for item in write.items
        ],
    )
    if write.keep_items:
        last = write.session.counters.items
        db.execute(
            "DELETE FROM items WHERE session_id = ? AND seq <= ?",
            (session.id, last - write.keep_items),
        )
    if write.workspace == "":
        db.execute("DELETE FROM workspaces WHERE session_id = ?", (session.id,))
    elif write.workspace is not None:
        db.execute(
            "INSERT INTO workspaces VALUES (?, ?)"
            " ON CONFLICT (session_id) DO UPDATE SET text = excluded.text",
            (session.id, write.workspace),
        )


def _remove(db: sqlite3.Connection, session_id: str) -> None:
    db.execute("DELETE FROM items WHERE session_id = ?", (session_id,))
    db.execute("DELETE FROM workspaces WHERE session_id = ?", (session_id,))
    db.execute("DELETE FROM sessions WHERE id = ?", (session_id,))
