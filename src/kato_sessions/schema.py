"""Tables of the SQLite store, by schema number, and the way from every older one to the newest.

Number 0 is an empty file or a database of the chat guide (tables `chat_sessions` and
`chat_messages`); before such a file is changed a copy `<name>.schema-0.bak` is made beside it.
"""

import json
import sqlite3
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kato_sessions.errors import StoreUnavailable
from kato_sessions.model import (
    HOUR_MS,
    SCHEMA,
    Counters,
    Item,
    Session,
    State,
    deadline_of,
    dumps,
)

_TABLES = """
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, user_id TEXT, node_id TEXT, state TEXT NOT NULL,
    created_at INTEGER NOT NULL, last_access INTEGER NOT NULL, due_at INTEGER, doc TEXT NOT NULL
);
CREATE INDEX sessions_by_creation ON sessions (created_at, id);
CREATE INDEX sessions_by_user ON sessions (user_id, created_at, id) WHERE user_id IS NOT NULL;
CREATE INDEX sessions_by_node ON sessions (node_id, created_at, id) WHERE node_id IS NOT NULL;
CREATE INDEX sessions_by_due ON sessions (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX sessions_live ON sessions (state, due_at);
CREATE TABLE items (
    session_id TEXT NOT NULL, seq INTEGER NOT NULL, idempotency_key TEXT, doc TEXT NOT NULL,
    PRIMARY KEY (session_id, seq)
) WITHOUT ROWID;
CREATE INDEX items_by_key ON items (session_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE TABLE workspaces (session_id TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until INTEGER NOT NULL);
CREATE TABLE quarantine (id TEXT, doc TEXT, reason TEXT);
CREATE VIEW chat_sessions AS SELECT
    id AS session_id, user_id,
    strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', last_access / 1000.0, 'unixepoch') AS updated_at,
    json_extract(doc, '$.context') AS context,
    json_extract(doc, '$.metadata') AS metadata,
    CASE
        WHEN state <> 'active' THEN strftime('%Y-%m-%dT%H:%M:%fZ',
            coalesce(json_extract(doc, '$.expired_at'), last_access) / 1000.0, 'unixepoch')
        WHEN due_at <= CAST(strftime('%s', 'now') AS INTEGER) * 1000
            THEN strftime('%Y-%m-%dT%H:%M:%fZ', due_at / 1000.0, 'unixepoch')
    END AS expired_at
FROM sessions WHERE state <> 'deleted';
CREATE VIEW chat_messages AS SELECT
    session_id, seq AS id,
    json_extract(doc, '$.role') AS role,
    json_extract(doc, '$.content') AS content,
    json_extract(doc, '$.data.query_plan') AS query_plan,
    json_extract(doc, '$.data.candidate_set') AS candidate_set,
    strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(doc, '$.ts') / 1000.0, 'unixepoch') AS timestamp
FROM items;
"""


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the newest schema; safe when several processes open it at once."""
    if _number(db) == SCHEMA:
        return
    if _number(db) > SCHEMA:
        raise StoreUnavailable(f"{path} has schema {_number(db)}; this version knows {SCHEMA}")
    if _has_chat_tables(db):
        _back_up(db, path)
    db.execute("BEGIN IMMEDIATE")
    try:
        if _number(db) < SCHEMA:
            _migrate(db)
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _number(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _has_chat_tables(db: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'chat_sessions'"
    return db.execute(query).fetchone() is not None


def _back_up(db: sqlite3.Connection, path: Path) -> None:
    target = path.with_name(f"{path.name}.schema-0.bak")
    if target.exists():
        return
    copy = sqlite3.connect(target)
    try:
        db.backup(copy)
    finally:
        copy.close()
    target.chmod(0o600)


def _migrate(db: sqlite3.Connection) -> None:
    chats = _take_chats(db) if _has_chat_tables(db) else []
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            db.execute(statement)
    for session, items in chats:
        _store(db, session, items)
    db.execute(f"PRAGMA user_version = {SCHEMA}")


def _take_chats(db: sqlite3.Connection) -> list[tuple[Session, list[Item]]]:
    sessions = _rows(db, "SELECT * FROM chat_sessions")
    messages = _rows(db, "SELECT * FROM chat_messages ORDER BY timestamp, rowid")
    db.execute("DROP TABLE chat_messages")
    db.execute("DROP TABLE chat_sessions")
    return [_chat(row, messages) for row in sessions]


def _rows(db: sqlite3.Connection, query: str) -> list[dict[str, Any]]:
    cursor = db.execute(query)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _chat(row: dict[str, Any], messages: list[dict[str, Any]]) -> tuple[Session, list[Item]]:
    mine = [message for message in messages if message["session_id"] == row["session_id"]]
    items = [_message(message, seq) for seq, message in enumerate(mine, 1)]
    created_at = _ms(row["created_at"])
    updated_at = _ms(row.get("updated_at") or row["created_at"])
    expired_at = _ms(row["expired_at"]) if row.get("expired_at") else None
    session = Session(
        id=row["session_id"],
        user_id=row.get("user_id"),
        state=State.EXPIRED if expired_at else State.ACTIVE,
        created_at=created_at,
        last_access=updated_at,
        last_write=updated_at,
        idle_ttl_ms=24 * HOUR_MS,
        max_life_ms=None,
        expires_at=updated_at + 24 * HOUR_MS,
        expired_at=expired_at,
        context=_json(row.get("context")) or {},
        metadata=_json(row.get("metadata")) or {},
        counters=Counters(items=len(items)),
    )
    return session, items


def _message(row: dict[str, Any], seq: int) -> Item:
    results = {
        name: value for name in ("query_plan", "candidate_set") if (value := _json(row.get(name)))
    }
    return Item(
        session_id=row["session_id"],
        seq=seq,
        id=uuid.uuid4().hex,
        ts=_ms(row["timestamp"]),
        role=row["role"],
        kind="query" if row["role"] == "user" else "response",
        content=row["content"],
        data=results,
    )


def _json(text: Any) -> Any:
    return json.loads(text) if text else None


def _ms(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _store(db: sqlite3.Connection, session: Session, items: list[Item]) -> None:
    db.execute(
        "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            session.id,
            session.user_id,
            session.node_id,
            session.state.value,
            session.created_at,
            session.last_access,
            deadline_of(session, session.last_access, slack_ms=0)
            if session.state is State.ACTIVE
            else None,
            dumps(session.to_json()),
        ),
    )
    db.executemany(
        "INSERT INTO items VALUES (?, ?, NULL, ?)",
        [(session.id, item.seq, dumps(item.to_json())) for item in items],
    )
