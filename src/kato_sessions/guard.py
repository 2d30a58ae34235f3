"""What goes into a store and comes out: checked, redacted, sealed and opened."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from kato_sessions import life
from kato_sessions.backend import Backend, Record
from kato_sessions.cipher import Cipher, key_of
from kato_sessions.errors import InvalidSession, SessionSealed
from kato_sessions.model import Item, Json, Session, plain
from kato_sessions.sealed import SealedBackend, opened_record, sealed_record

Redact = Callable[[Item], Item]


class Guard:
    """The redaction and the cipher of a store, either of them perhaps absent."""

    def __init__(self, redact: Redact | None, cipher: Cipher | None) -> None:
        self._redact = redact
        self._cipher = cipher

    def before(self, backend: Backend) -> Backend:
        """The backend behind the cipher, if there is one."""
        return cast("Backend", SealedBackend(backend, self._cipher)) if self._cipher else backend

    def at_rest(self, record: Record) -> Record:
        record = self.cleaned(record)
        return sealed_record(record, self._cipher) if self._cipher else record

    def opened(self, record: Record) -> Record:
        if record.session.sealed and self._cipher:
            return opened_record(record, self._cipher)
        return replace(record, session=open_session(record.session))

    def prepared(self, item: Item) -> Item:
        item = replace(item, content=plain(item.content), data=checked_object("data", item.data))
        return self._redact(item) if self._redact else item

    def clean(self, name: str, value: Mapping[str, Any] | None) -> Json:
        """Context or metadata as JSON, redacted as the data of an item."""
        checked = checked_object(name, value)
        return self._redact(Item(kind=name, data=checked)).data if self._redact else checked

    def cleaned(self, record: Record) -> Record:
        if self._redact is None:
            return record
        session = replace(
            record.session,
            context=self.clean("context", record.session.context),
            metadata=self.clean("metadata", record.session.metadata),
        )
        return replace(record, session=session, items=tuple(map(self._redact, record.items)))

    def checked_patch(self, merge: Mapping[str, Any]) -> Json:
        unknown = set(merge) - set(life.PATCHABLE)
        if unknown:
            raise InvalidSession(f"cannot patch {sorted(unknown)}: use {', '.join(life.PATCHABLE)}")
        for name, value in merge.items():
            if not isinstance(value, Mapping):
                raise InvalidSession(f"{name} must be an object, not {type(value).__name__}")
        return {
            name: checked_object(name, value) if name == "config" else self.clean(name, value)
            for name, value in merge.items()
        }

    def readable(self, items: Sequence[Item]) -> Sequence[Item]:
        """The items; raises SessionSealed if one is sealed and there is no cipher."""
        sealed = None if self._cipher else next(filter(key_of, items), None)
        if sealed:
            raise SessionSealed(sealed.session_id, key=key_of(sealed))
        return items


def open_session(session: Session) -> Session:
    """The session; raises SessionSealed if nothing has opened it."""
    if session.sealed:
        raise SessionSealed(session.id, key=session.sealed)
    return session


def checked_object(name: str, value: Mapping[str, Any] | None) -> Json:
    """A JSON object, detached from the caller's; None is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidSession(f"{name} must be an object, not {type(value).__name__}")
    result: Json = plain(value)
    return result
