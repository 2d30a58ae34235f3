"""Rows of the SQLite store: read, written, counted, set aside, each on the caller's connection."""

import sqlite3
from typing import Any

from kato_sessions.backend import Filter, Write, parsed_items, parsed_session, set_aside
from kato_sessions.errors import RecordCorrupt
from kato_sessions.model import Item, Session, dumps

BROKEN_ITEMS = """
SELECT session_id, seq FROM items
WHERE CASE WHEN json_valid(doc) THEN json_type(doc) <> 'object' ELSE 1 END
"""


def why_broken(session_id: str, doc: str) -> str | None:
    try:
        parsed_session(session_id, doc)
    except RecordCorrupt as error:
        return str(error)
    return None


def quarantine(db: sqlite3.Connection, session_id: str, reason: str) -> None:
    db.execute(
        "INSERT INTO quarantine SELECT id, doc, ? FROM sessions WHERE id = ?", (reason, session_id)
    )
    db.execute("DELETE FROM sessions WHERE id = ?", (session_id,))


def quarantine_item(db: sqlite3.Connection, session_id: str, seq: int) -> None:
    at = (session_id, seq)
    db.execute(
        "INSERT INTO quarantine SELECT session_id, doc, 'item ' || seq FROM items"
        " WHERE session_id = ? AND seq = ?",
        at,
    )
    stand_in = dumps(set_aside(session_id, seq).to_json())
    db.execute("UPDATE items SET doc = ? WHERE session_id = ? AND seq = ?", (stand_in, *at))


def read(db: sqlite3.Connection, session_id: str) -> Session | None:
    row = db.execute("SELECT doc FROM sessions WHERE id = ?", (session_id,)).fetchone()
    return row and parsed_session(session_id, row[0])


def items(
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


def condition(wanted: Filter) -> tuple[str, tuple[Any, ...]]:
    where, values = ["1"], []
    for column, value in (("user_id", wanted.user_id), ("node_id", wanted.node_id)):
        if value is not None:
            where.append(f"{column} = ?")
            values.append(value)
    if wanted.live_at is not None:
        where.append("state = 'active' AND (due_at IS NULL OR due_at > ?)")
        values.append(wanted.live_at)  # type: ignore[arg-type]
    return " AND ".join(where), tuple(values)


def count(db: sqlite3.Connection, wanted: Filter) -> int:
    where, values = condition(wanted)
    query = f"SELECT count(*) FROM sessions WHERE {where}"  # noqa: S608 - our own words
    return int(db.execute(query, values).fetchone()[0])


def apply(db: sqlite3.Connection, write: Write) -> None:
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


def remove(db: sqlite3.Connection, session_id: str) -> None:
    db.execute("DELETE FROM items WHERE session_id = ?", (session_id,))
    db.execute("DELETE FROM workspaces WHERE session_id = ?", (session_id,))
    db.execute("DELETE FROM sessions WHERE id = ?", (session_id,))
