"""Sessions in one SQLite file that several processes share.

sessions    one row each, `doc` = the record as JSON, the other columns are indexes of it
items       (session_id, seq), `doc` = the item as JSON
workspaces  opaque text, apart from `sessions` so that lists never load it
leases      name, holder, until
chat_sessions, chat_messages    views for the monitoring SQL of the chat guide
"""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from kato_sessions import sqlite_rows
from kato_sessions.backend import (
    Change,
    Filter,
    Full,
    Limits,
    Position,
    Record,
    full,
    parsed_items,
    parsed_session,
    readable_session,
)
from kato_sessions.errors import InvalidSession
from kato_sessions.gate import Gate
from kato_sessions.model import Item, Session
from kato_sessions.sqlite_connections import Connections, closing, connect


class SqliteBackend:
    """Every change is one transaction; the file may be copied with `backup` while it is used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connections = Connections(path)
        self._gate = Gate(1)

    # Changes

    def insert(self, session_id: str, change: Change, limits: Limits) -> Session | Full:
        with self.connections.writing() as db:
            write = change(sqlite_rows.read(db, session_id))
            if write is None:
                raise InvalidSession(f"nothing to insert for {session_id!r}")
            if reached := full(partial(sqlite_rows.count, db), write.session, limits):
                return reached
            sqlite_rows.apply(db, write)
            return write.session

    def update(self, session_id: str, change: Change) -> Session | None:
        with self.connections.writing() as db:
            found = sqlite_rows.read(db, session_id)
            write = change(found)
            if write is None:
                return found
            sqlite_rows.apply(db, write)
            return write.session

    def remove(self, session_id: str, *, due_at: int | None) -> bool:
        with self.connections.writing() as db:
            row = db.execute(
                "SELECT 1 FROM sessions WHERE id = ? AND due_at IS ?", (session_id, due_at)
            ).fetchone()
            if row:
                sqlite_rows.remove(db, session_id)
            return row is not None

    def lease(self, name: str, holder: str, *, now: int, ttl_ms: int) -> bool:
        with self.connections.writing() as db:
            taken = db.execute(
                "INSERT INTO leases VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE"
                " SET holder = excluded.holder, until = excluded.until"
                " WHERE leases.holder = excluded.holder OR leases.until <= ?",
                (name, holder, now + ttl_ms, now),
            )
            return taken.rowcount == 1

    # Reading

    def read(self, session_id: str) -> Session | None:
        with self.connections.reading() as db:
            return sqlite_rows.read(db, session_id)

    def read_with_workspace(self, session_id: str) -> tuple[Session, str] | None:
        with self.connections.reading() as db:
            row = db.execute(
                "SELECT s.doc, coalesce(w.text, '') FROM sessions s"
                " LEFT JOIN workspaces w ON w.session_id = s.id WHERE s.id = ?",
                (session_id,),
            ).fetchone()
        return row and (parsed_session(session_id, row[0]), row[1])

    def read_record(self, session_id: str) -> Record | None:
        with self.connections.reading() as db:
            db.execute("BEGIN")
            try:
                session = sqlite_rows.read(db, session_id)
                if session is None:
                    return None
                text = db.execute(
                    "SELECT text FROM workspaces WHERE session_id = ?", (session_id,)
                ).fetchone()
                items = sqlite_rows.items(db, session_id, 0, None, 1 << 62, newest=False)
            finally:
                db.execute("COMMIT")
        return Record(session=session, items=tuple(items), workspace=text[0] if text else "")

    def items(
        self, session_id: str, *, after: int, before: int | None, limit: int, newest: bool
    ) -> list[Item]:
        with self._gate.turn(), self.connections.reading() as db:
            return sqlite_rows.items(db, session_id, after, before, limit, newest=newest)

    def keyed_items(self, session_id: str, key: str) -> list[Item]:
        with self.connections.within() as db:
            found = db.execute(
                "SELECT doc FROM items WHERE session_id = ? AND idempotency_key = ? ORDER BY seq",
                (session_id, key),
            ).fetchall()
        return parsed_items(session_id, f"[{','.join(row[0] for row in found)}]")

    def page(self, wanted: Filter, *, after: Position | None, limit: int) -> list[Session]:
        where, values = sqlite_rows.condition(wanted)
        # The plus keeps SQLite from the index by state, after which it would sort every session.
        where = where.replace("state =", "+state =")
        if after:
            where += " AND (created_at, id) < (?, ?)"
            values += after
        with self.connections.reading() as db:
            listed = db.execute(
                f"SELECT id, doc FROM sessions WHERE {where}"  # noqa: S608 - our own words
                " ORDER BY created_at DESC, id DESC",
                values,
            )
            found = (readable_session(*row) for row in listed)
            return list(islice(filter(None, found), limit))

    def count(self, wanted: Filter) -> int:
        with self.connections.reading() as db:
            return sqlite_rows.count(db, wanted)

    def due(self, *, now: int, limit: int) -> list[str]:
        with self.connections.reading() as db:
            due = db.execute(
                "SELECT id FROM sessions WHERE due_at <= ? ORDER BY due_at LIMIT ?", (now, limit)
            ).fetchall()
        return [row[0] for row in due]

    def oldest_idle(self, wanted: Filter) -> str | None:
        where, values = sqlite_rows.condition(wanted)
        with self.connections.reading() as db:
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
        with self.connections.writing() as db:
            every = db.execute("SELECT id, doc FROM sessions").fetchall()
            broken = [(row[0], reason) for row in every if (reason := sqlite_rows.why_broken(*row))]
            for session_id, reason in broken:
                if quarantine:
                    sqlite_rows.quarantine(db, session_id, reason)
            items = db.execute(sqlite_rows.BROKEN_ITEMS).fetchall()
            for session_id, seq in items if quarantine else ():
                sqlite_rows.quarantine_item(db, session_id, seq)
        yield from broken
        for session_id, seq in items:
            yield f"{session_id}, item {seq}", "cannot be read"

    def info(self) -> dict[str, Any]:
        return {"type": "sqlite", "place": str(self.path)}

    def backup(self, target: Path) -> None:
        """A consistent copy while others write; a plain `cp` would miss the write-ahead log."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with self.connections.reading() as db, closing(connect(target)) as copy:
            db.backup(copy)
        target.chmod(0o600)

    def compact(self) -> None:
        """Give free room back; what was replaced or deleted is in no part of the file then."""
        self.connections.compact()

    def close(self) -> None:
        self.connections.close()
