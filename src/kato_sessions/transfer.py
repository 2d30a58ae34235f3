"""A session as one JSON document: export, import, and moving a whole store to another.

    {"format": "kato-session", "schema": 1, "session": {...}, "items": [...], "workspace": "..."}

The document is the same to the byte whichever store it came from or went through.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kato_sessions.backend import Record
from kato_sessions.errors import InvalidSession
from kato_sessions.model import SCHEMA, Item, Json, Session, State, dumps, plain
from kato_sessions.store import Store

FORMAT = "kato-session"
Progress = Callable[[int, int], None]


def to_document(record: Record) -> Json:
    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "session": record.session.to_json(),
        "items": [item.to_json() for item in record.items],
        "workspace": record.workspace,
    }


def from_document(document: Any) -> Record:
    """Raises InvalidSession, naming what is wrong, for anything that export did not write."""
    if not isinstance(document, Mapping) or document.get("format", FORMAT) != FORMAT:
        raise InvalidSession("not an exported session: want an object with session and items")
    if document.get("schema", SCHEMA) > SCHEMA:
        raise InvalidSession(f"the document has schema {document['schema']}, known is {SCHEMA}")
    try:
        session = Session.from_json(document["session"])
        items = tuple(Item.from_json(item) for item in document.get("items", ()))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidSession(f"not an exported session: {error!r}") from error
    expected = range(items[0].seq, items[0].seq + len(items)) if items else range(0)
    if [item.seq for item in items] != list(expected):
        raise InvalidSession("not an exported session: its items are not numbered in order")
    return Record(session=session, items=items, workspace=str(document.get("workspace") or ""))


def export_session(store: Store, session_id: str) -> Json:
    """The document of a session in any state but deleted."""
    document: Json = plain(to_document(store.record(session_id)))
    return document


def import_session(store: Store, document: Any, *, overwrite: bool = False) -> Session:
    """Store a document exactly as it was; raises SessionExists over a live session."""
    return store.put_record(from_document(document), overwrite=overwrite)


def to_text(document: Json) -> str:
    """The canonical text of a document, for comparing and for files."""
    return dumps(document)


def migrate(
    source: Store, target: Store, *, overwrite: bool = False, progress: Progress | None = None
) -> int:
    """Copy every session but the deleted ones; gives how many. May be repeated with `overwrite`.

    `progress(done, in_all)` is called after each. What is written to `source` meanwhile may be
    missed: stop its users first.
    """
    in_all = source.count(live=False)
    done = 0
    for session in source.every(live=False):
        if session.state is not State.DELETED:
            target.put_record(source.record(session.id), overwrite=overwrite)
            done += 1
        if progress:
            progress(done, in_all)
    return done
