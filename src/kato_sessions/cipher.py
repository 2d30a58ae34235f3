"""Keys, and what they seal and open of a session.

Each session has a key of its own, derived from a named master key by HKDF-SHA256 with the session's
id; the text is Fernet (AES-128-CBC with HMAC-SHA256), written `sealed:<key name>:<token>`.

A key file has one key a line, 32 random bytes in base64 (`openssl rand -base64 32`); the last one
seals, all of them open. Its name is the start of its SHA-256, so that a wrong key is known as such.
"""

import base64
import binascii
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from kato_sessions.errors import InvalidSession, RecordCorrupt, SessionSealed
from kato_sessions.model import Item, Session, State, dumps

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

_SEALED = re.compile(r"sealed:(.+):(gAAAA[\w-]+=*)", re.ASCII | re.DOTALL)
_KEY_BYTES = 32
_NAME_CHARS = 8
_EMPTIED = {State.ARCHIVED, State.DELETED}
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Cipher:
    """Seals with one master key and opens with all of them; keys are 32 random bytes each.

    To rotate, add a new key, name it as `sealing`, and keep the old one until nothing needs it.
    With `sealing=None` it opens only, and what is written stays plain text.
    """

    def __init__(self, keys: Mapping[str, bytes], *, sealing: str | None) -> None:
        known = sealing is None or sealing in keys
        if not keys or not known or any(len(key) != _KEY_BYTES for key in keys.values()):
            raise InvalidSession("encryption needs keys of 32 bytes, and one of them for sealing")
        if find_spec("cryptography") is None:
            raise InvalidSession(
                "encryption needs the package cryptography",
                hint="pip install 'kato-manager[encrypt]'",
            )
        self._keys = dict(keys)
        self._sealing = sealing
        self._path: Path | None = None
        self._fernet = lru_cache(maxsize=1024)(self._derived)

    @classmethod
    def from_file(cls, path: Path, *, seals: bool = True) -> Self:
        """The keys of a file that only its owner can read; raises InvalidSession.

        It is read again when something is sealed with a key that was added since.
        """
        keys = _keys_in(path)
        cipher = cls(keys, sealing=list(keys)[-1] if seals else None)
        cipher._path = path
        return cipher

    def seal(self, session_id: str, text: str) -> str:
        if self._sealing is None:
            return text
        token = self._fernet(self._sealing, session_id).encrypt(text.encode())
        return f"sealed:{self._sealing}:{token.decode()}"

    def open(self, session_id: str, text: str) -> str:
        """The text as it was; text that was never sealed comes as it is."""
        found = _SEALED.fullmatch(text)
        if found is None:
            return text
        from cryptography.fernet import InvalidToken

        name, token = found.groups()
        if not self._has(name):
            raise SessionSealed(session_id, key=name)
        try:
            return self._fernet(name, session_id).decrypt(token.encode()).decode()
        except InvalidToken as error:
            raise RecordCorrupt(f"session {session_id!r} does not open with {name!r}") from error

    def seal_session(self, session: Session) -> Session:
        """Its context and metadata sealed; as it is if it never opened, or holds nothing now."""
        if self._sealing is None or session.sealed or session.state in _EMPTIED:
            return session
        return replace(
            session,
            context=self._sealed_object(session.id, session.context),
            metadata=self._sealed_object(session.id, session.metadata),
            sealed=self._sealing,
        )

    def open_session(self, session: Session) -> Session:
        """As it was; with a key that is not here it comes sealed, for lists to go on."""
        if not session.sealed or not self._has(session.sealed):
            return session
        return replace(
            session,
            context=self._opened_object(session.id, session.context),
            metadata=self._opened_object(session.id, session.metadata),
            sealed="",
        )

    def seal_item(self, item: Item) -> Item:
        if self._sealing is None:
            return item
        text = self.seal(item.session_id, dumps([item.content, item.data]))
        return replace(item, content=text, data={"sealed": self._sealing})

    def open_item(self, item: Item) -> Item:
        if not key_of(item):
            return item
        content, data = json.loads(self.open(item.session_id, item.content))
        return replace(item, content=content, data=data)

    def _has(self, name: str) -> bool:
        if name not in self._keys and self._path:
            with suppress(InvalidSession):
                self._keys |= _keys_in(self._path)
        return name in self._keys

    def _sealed_object(self, session_id: str, value: Mapping[str, Any]) -> dict[str, Any]:
        return {"sealed": self.seal(session_id, dumps(value))} if value else {}

    def _opened_object(self, session_id: str, value: dict[str, Any]) -> dict[str, Any]:
        if not value:
            return value
        if not isinstance(value.get("sealed"), str):
            raise RecordCorrupt(f"session {session_id!r} says it is sealed, and is not")
        opened: dict[str, Any] = json.loads(self.open(session_id, value["sealed"]))
        return opened

    def _derived(self, name: str, session_id: str) -> "Fernet":
        from cryptography.fernet import Fernet
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        derived = HKDF(SHA256(), _KEY_BYTES, salt=None, info=session_id.encode())
        return Fernet(base64.urlsafe_b64encode(derived.derive(self._keys[name])))


def key_of(item: Item) -> str:
    """The name of the key that an item is sealed with, "" = it is not."""
    sealed = item.data.get("sealed") if len(item.data) == 1 else None
    return sealed if isinstance(sealed, str) and isinstance(item.content, str) else ""


def name_of(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:_NAME_CHARS]


def add_key(path: Path) -> str:
    """Put a new key at the end of a key file, made 0600 if absent; gives its name.

    One append, so that no other process can lose a key, and none is ever written again.
    """
    key = secrets.token_bytes(_KEY_BYTES)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(handle, "r+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        torn = size and os.pread(handle, 1, size - 1) != b"\n"
        file.write(b"\n" * bool(torn) + base64.b64encode(key) + b"\n")
        os.fsync(handle)
    return name_of(key)


def _keys_in(path: Path) -> dict[str, bytes]:
    """By name, in the order of the file."""
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError as error:
        raise InvalidSession(
            f"key file {path} is not there",
            hint="bring it back, or, if nothing is sealed yet: kato sessions new-key",
        ) from error
    except OSError as error:
        raise InvalidSession(f"key file {path} cannot be read: {error.strerror}") from error
    if mode & _OTHERS:
        raise InvalidSession(f"key file {path} is open to others", hint=f"chmod 600 {path}")
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    keys = [_key(path, number, line) for number, line in lines if line and line[0] != "#"]
    if not keys:
        raise InvalidSession(f"key file {path} holds no key", hint="kato sessions new-key")
    return {name_of(key): key for key in keys}


def _key(path: Path, number: int, line: str) -> bytes:
    try:
        key = base64.b64decode(line.translate({45: "+", 95: "/"}), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise InvalidSession(f"key file {path}: line {number} is not 32 bytes in base64")
    return key
