"""Encryption at rest: what people said is sealed before it reaches the store.

Sealed are the content and data of items, context, metadata and the workspace; ids, owners, times,
settings and counters stay readable, since lists and sweeps need them.
"""

from dataclasses import replace
from typing import Any

from kato_sessions.backend import Backend, Change, Full, Limits, Record, Write
from kato_sessions.cipher import Cipher
from kato_sessions.errors import RecordCorrupt, SessionSealed
from kato_sessions.model import Item, Session


class SealedBackend:
    """Any backend, with a cipher in front; what needs no cipher goes straight through."""

    def __init__(self, backend: Backend, cipher: Cipher) -> None:
        self._backend = backend
        self._cipher = cipher

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def insert(self, session_id: str, change: Change, limits: Limits) -> Session | Full:
        made = self._backend.insert(session_id, self._around(change), limits)
        return made if isinstance(made, Full) else self._cipher.open_session(made)

    def update(self, session_id: str, change: Change) -> Session | None:
        return self._maybe(self._backend.update(session_id, self._around(change)))

    def read(self, session_id: str) -> Session | None:
        return self._maybe(self._backend.read(session_id))

    def read_with_workspace(self, session_id: str) -> tuple[Session, str] | None:
        found = self._backend.read_with_workspace(session_id)
        if found is None:
            return None
        session = self._cipher.open_session(found[0])
        return session, found[1] if session.sealed else self._cipher.open(session_id, found[1])

    def read_record(self, session_id: str) -> Record | None:
        record = self._backend.read_record(session_id)
        return opened_record(record, self._cipher) if record else None

    def items(self, session_id: str, **window: Any) -> list[Item]:
        return list(map(self._cipher.open_item, self._backend.items(session_id, **window)))

    def keyed_items(self, session_id: str, key: str) -> list[Item]:
        return list(map(self._cipher.open_item, self._backend.keyed_items(session_id, key)))

    def page(self, *args: Any, **kwargs: Any) -> list[Session]:
        return list(map(self._listed, self._backend.page(*args, **kwargs)))

    def _around(self, change: Change) -> Change:
        def sealed(found: Session | None) -> Write | None:
            write = change(self._maybe(found))
            return self._sealed(write) if write else None

        return sealed

    def _sealed(self, write: Write) -> Write:
        session = write.session
        return replace(
            write,
            session=self._cipher.seal_session(session),
            items=tuple(map(self._cipher.seal_item, write.items)),
            workspace=self._cipher.seal(session.id, write.workspace)
            if write.workspace
            else write.workspace,
        )

    def _listed(self, session: Session) -> Session:
        """One that does not open is listed sealed, so that it hides no other."""
        try:
            return self._cipher.open_session(session)
        except RecordCorrupt:
            return session

    def _maybe(self, session: Session | None) -> Session | None:
        return self._cipher.open_session(session) if session else None


def sealed_record(record: Record, cipher: Cipher) -> Record:
    workspace = record.workspace
    return Record(
        session=cipher.seal_session(record.session),
        items=tuple(map(cipher.seal_item, record.items)),
        workspace=cipher.seal(record.session.id, workspace) if workspace else "",
    )


def opened_record(record: Record, cipher: Cipher) -> Record:
    """Raises SessionSealed, naming the key that is missing."""
    session = cipher.open_session(record.session)
    if session.sealed:
        raise SessionSealed(session.id, key=session.sealed)
    return Record(
        session=session,
        items=tuple(map(cipher.open_item, record.items)),
        workspace=cipher.open(session.id, record.workspace),
    )
