"""Encryption at rest: what people said is sealed before it reaches the store.

Sealed are the content and data of items, context, metadata and the workspace; ids, owners, times
and counters stay readable, since lists and sweeps need them. Each session has a key of its own,
derived from the named master key by HKDF-SHA256 with the session's id; the text is Fernet
(AES-128-CBC with HMAC-SHA256), written `sealed:<key name>:<token>`. Old keys go on opening.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kato_sessions.backend import Backend, Change, Full, Limits, Record, Write
from kato_sessions.errors import InvalidSession, RecordCorrupt
from kato_sessions.model import Item, Session, dumps

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

_MARK = "sealed:"
_KEY_BYTES = 32


class Cipher:
    """Seals with one master key and opens with all of them; keys are 32 random bytes each.

    To rotate, add a new key, name it as `sealing`, and keep the old one until nothing needs it.
    """

    def __init__(self, keys: Mapping[str, bytes], *, sealing: str) -> None:
        if sealing not in keys or any(len(key) != _KEY_BYTES for key in keys.values()):
            raise InvalidSession("encryption needs keys of 32 bytes, and one of them for sealing")
        self._keys = dict(keys)
        self._sealing = sealing
        self._fernet = lru_cache(maxsize=1024)(self._derived)

    def seal(self, session_id: str, text: str) -> str:
        token = self._fernet(self._sealing, session_id).encrypt(text.encode())
        return f"{_MARK}{self._sealing}:{token.decode()}"

    def open(self, session_id: str, text: str) -> str:
        """The text as it was; text that was never sealed comes as it is."""
        if not text.startswith(_MARK):
            return text
        from cryptography.fernet import InvalidToken

        name, _, token = text.removeprefix(_MARK).rpartition(":")
        if name not in self._keys:
            raise RecordCorrupt(f"session {session_id!r} is sealed with key {name!r}, not given")
        try:
            return self._fernet(name, session_id).decrypt(token.encode()).decode()
        except InvalidToken as error:
            raise RecordCorrupt(f"session {session_id!r} does not open with {name!r}") from error

    def _derived(self, name: str, session_id: str) -> "Fernet":
        from cryptography.fernet import Fernet
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        derived = HKDF(SHA256(), _KEY_BYTES, salt=None, info=session_id.encode())
        return Fernet(base64.urlsafe_b64encode(derived.derive(self._keys[name])))


class SealedBackend:
    """Any backend, with a cipher in front; what needs no cipher goes straight through."""

    def __init__(self, backend: Backend, cipher: Cipher) -> None:
        self._backend = backend
        self._cipher = cipher

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def insert(self, session_id: str, change: Change, limits: Limits) -> Session | Full:
        made = self._backend.insert(session_id, self._around(change), limits)
        return made if isinstance(made, Full) else self._opened(made)

    def update(self, session_id: str, change: Change) -> Session | None:
        return self._maybe(self._backend.update(session_id, self._around(change)))

    def read(self, session_id: str) -> Session | None:
        return self._maybe(self._backend.read(session_id))

    def read_with_workspace(self, session_id: str) -> tuple[Session, str] | None:
        found = self._backend.read_with_workspace(session_id)
        if found is None:
            return None
        return self._opened(found[0]), self._cipher.open(session_id, found[1])

    def read_record(self, session_id: str) -> Record | None:
        record = self._backend.read_record(session_id)
        if record is None:
            return None
        return Record(
            session=self._opened(record.session),
            items=tuple(map(self._opened_item, record.items)),
            workspace=self._cipher.open(session_id, record.workspace),
        )

    def items(self, session_id: str, **window: Any) -> list[Item]:
        return [self._opened_item(item) for item in self._backend.items(session_id, **window)]

    def keyed_items(self, session_id: str, key: str) -> list[Item]:
        return [self._opened_item(item) for item in self._backend.keyed_items(session_id, key)]

    def page(self, *args: Any, **kwargs: Any) -> list[Session]:
        return [self._opened(session) for session in self._backend.page(*args, **kwargs)]

    def _around(self, change: Change) -> Change:
        def sealed(found: Session | None) -> Write | None:
            write = change(self._maybe(found))
            return self._sealed(write) if write else None

        return sealed

    def _sealed(self, write: Write) -> Write:
        session = write.session
        return replace(
            write,
            session=replace(
                session,
                context=self._sealed_object(session.id, session.context),
                metadata=self._sealed_object(session.id, session.metadata),
            ),
            items=tuple(self._sealed_item(item) for item in write.items),
            workspace=self._cipher.seal(session.id, write.workspace)
            if write.workspace
            else write.workspace,
        )

    def _sealed_object(self, session_id: str, value: Mapping[str, Any]) -> dict[str, Any]:
        return {"sealed": self._cipher.seal(session_id, dumps(value))} if value else {}

    def _sealed_item(self, item: Item) -> Item:
        text = dumps([item.content, item.data])
        return replace(item, content=self._cipher.seal(item.session_id, text), data={})

    def _maybe(self, session: Session | None) -> Session | None:
        return self._opened(session) if session else None

    def _opened(self, session: Session) -> Session:
        return replace(
            session,
            context=self._opened_object(session.id, session.context),
            metadata=self._opened_object(session.id, session.metadata),
        )

    def _opened_object(self, session_id: str, value: dict[str, Any]) -> dict[str, Any]:
        sealed = value.get("sealed")
        if len(value) != 1 or not isinstance(sealed, str) or not sealed.startswith(_MARK):
            return value
        opened: dict[str, Any] = json.loads(self._cipher.open(session_id, sealed))
        return opened

    def _opened_item(self, item: Item) -> Item:
        if not isinstance(item.content, str) or not item.content.startswith(_MARK):
            return item
        content, data = json.loads(self._cipher.open(item.session_id, item.content))
        return replace(item, content=content, data=data)
