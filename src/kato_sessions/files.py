"""Sessions as readable files, in the layout of the PulsePal guide; made for about 1,000 of them.

    active/session_<name>.json      {"session": {...}, "items": [...]}, whole
    active/session_<name>.jsonl     journal: what came since, one {"session", "items"} per change
    active/session_<name>.txt       the workspace, if there is one
    archive/YYYY-MM-DD/             kept by `archive.py`
    metadata.json                   index of all sessions: owners, state, times, tombstones
    .lock                           exclusive for changes, shared for reads, across processes

`<name>` is the id where that is a safe file name, else `b32-` and its base32. A change appends one
line; a torn last line is no change. Journals fold into the document on close and when they outgrow
it. A document put into `active/` by hand is taken in when next looked for.
"""

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from kato_sessions import life
from kato_sessions.backend import Change, Filter, Full, Limits, Position, Record, Write, full
from kato_sessions.documents import (
    append_line,
    document_of,
    file_name,
    history_of,
    items_of,
    newest_of,
    what_is_broken,
    write_atomically,
)
from kato_sessions.errors import RecordCorrupt, StoreUnavailable
from kato_sessions.files_index import GONE, Index, entry_matches
from kato_sessions.gate import Gate
from kato_sessions.model import Item, Json, Session, State, dumps

_FOLD_BYTES = 1 << 20


class FilesBackend:
    """One lock for the folder; an index in memory as long as the file of it stays the same."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.active = root / "active"
        self._threads = threading.RLock()
        self._gate = Gate(1)
        self._depth = 0
        self._lock_file = -1
        self._pid = 0
        self._index = Index(root / "metadata.json", self._recorded)
        self._scanned: int = -1
        self._journals: set[str] = set()
        try:
            self.active.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreUnavailable(f"cannot use session folder {root}: {error}") from error

    # Changes

    def insert(self, session_id: str, change: Change, limits: Limits) -> Session | Full:
        with self._locked(fcntl.LOCK_EX):
            write = change(self._find(session_id))
            if write is None:
                raise StoreUnavailable(f"nothing to insert for {session_id!r}")
            if reached := full(self.count, write.session, limits):
                return reached
            return self._apply(write)

    def update(self, session_id: str, change: Change) -> Session | None:
        with self._locked(fcntl.LOCK_EX):
            found = self._find(session_id)
            write = change(found)
            return self._apply(write) if write else found

    def remove(self, session_id: str, *, due_at: int | None) -> bool:
        with self._locked(fcntl.LOCK_EX):
            found = self._find(session_id)
            if found is None or found.due_at != due_at:
                return False
            self._index.leave([session_id])
            self._unlink(session_id)
            return True

    def lease(self, name: str, holder: str, *, now: int, ttl_ms: int) -> bool:
        path = self.root / ".leases.json"
        with self._locked(fcntl.LOCK_EX):
            leases = json.loads(path.read_text()) if path.exists() else {}
            owner, until = leases.get(name, (holder, now))
            if owner != holder and until > now:
                return False
            leases[name] = (holder, now + ttl_ms)
            write_atomically(path, dumps(leases).encode())
            return True

    # Reading

    def read(self, session_id: str) -> Session | None:
        with self._locked(fcntl.LOCK_SH):
            return self._find(session_id)

    def read_with_workspace(self, session_id: str) -> tuple[Session, str] | None:
        with self._locked(fcntl.LOCK_SH):
            session = self._find(session_id)
            return (session, self._workspace(session_id)) if session else None

    def read_record(self, session_id: str) -> Record | None:
        with self._locked(fcntl.LOCK_SH):
            session = self._find(session_id)
            if session is None:
                return None
            items = tuple(self._items(session_id))
            return Record(session=session, items=items, workspace=self._workspace(session_id))

    def items(
        self, session_id: str, *, after: int, before: int | None, limit: int, newest: bool
    ) -> list[Item]:
        with self._gate.turn(), self._locked(fcntl.LOCK_SH):
            every = self._items(session_id)
        window = [i for i in every if i.seq > after and (before is None or i.seq < before)]
        return window[max(0, len(window) - limit) :] if newest else window[:limit]

    def keyed_items(self, session_id: str, key: str) -> list[Item]:
        mark = f'"idempotency_key":{dumps(key)}'.encode()
        with self._locked(fcntl.LOCK_SH):
            places = (self._path(session_id, ".json"), self._path(session_id, ".jsonl"))
            if not any(place.exists() and mark in place.read_bytes() for place in places):
                return []
            return [item for item in self._items(session_id) if item.idempotency_key == key]

    def page(self, wanted: Filter, *, after: Position | None, limit: int) -> list[Session]:
        with self._locked(fcntl.LOCK_SH):
            places = sorted(self._positions(wanted), reverse=True)
            later = (place for place in places if after is None or place < after)
            found = (self._readable(session_id) for _, session_id in later)
            return list(islice(filter(None, found), limit))

    def count(self, wanted: Filter) -> int:
        with self._locked(fcntl.LOCK_SH):
            return len(self._positions(wanted))

    def due(self, *, now: int, limit: int) -> list[str]:
        with self._locked(fcntl.LOCK_SH):
            self._positions(Filter())
            due = [
                (entry["due_at"], session_id)
                for session_id, entry in self._index.entries().items()
                if entry["due_at"] is not None and entry["due_at"] <= now
            ]
        return [session_id for _, session_id in sorted(due)[:limit]]

    def oldest_idle(self, wanted: Filter) -> str | None:
        with self._locked(fcntl.LOCK_SH):
            entries = self._index.entries()
            idle = [
                (entries[session_id]["last_access"], session_id)
                for _, session_id in self._positions(wanted)
                if entries[session_id]["due_at"] is not None
            ]
        return min(idle)[1] if idle else None

    def size_bytes(self) -> int:
        """All files below the folder, archives among them."""
        return sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())

    def corrupt(self, *, quarantine: bool) -> Iterator[tuple[str, str]]:
        """Documents that do not parse; quarantined ones move to `quarantine/`."""
        with self._locked(fcntl.LOCK_EX):
            broken = [
                (path, reason)
                for path in sorted(self.active.glob("*.json"))
                if (reason := what_is_broken(path))
            ]
            for path, _ in broken if quarantine else ():
                self._quarantine(path)
        for path, reason in broken:
            yield path.name, reason

    def info(self) -> dict[str, Any]:
        return {"type": "files", "place": str(self.root)}

    def close(self) -> None:
        """Fold the journals that this process wrote."""
        if self._pid == os.getpid() and self._journals:
            with self._locked(fcntl.LOCK_EX):
                for session_id in sorted(self._journals):
                    with suppress(RecordCorrupt):  # left as it is, for the doctor
                        self._fold(session_id)
                self._journals.clear()
        if self._lock_file >= 0:
            os.close(self._lock_file)
            self._lock_file = -1

    # The lock and the index

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        self._after_fork()
        with self._threads:
            if self._depth == 0:
                if self._lock_file < 0:
                    place = self.root / ".lock"
                    self._lock_file = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(self._lock_file, how)
            self._depth += 1
            try:
                yield
            except OSError as error:
                raise StoreUnavailable(f"session folder {self.root}: {error}") from error
            finally:
                self._depth -= 1
                if self._depth == 0:
                    fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def _after_fork(self) -> None:
        """A lock inherited through fork is the parent's own: take another."""
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        self._threads = threading.RLock()
        self._depth = 0
        self._lock_file = -1
        self._journals = set()

    def _recorded(self) -> Iterator[Session]:
        """What the documents say, for an index that is lost."""
        for path in self.active.glob("*.json"):
            if not what_is_broken(path):
                yield newest_of(path)

    def _positions(self, wanted: Filter) -> list[Position]:
        self._take_in_strays()
        return [
            (entry["created_at"], session_id)
            for session_id, entry in self._index.entries().items()
            if entry_matches(wanted, entry)
        ]

    def _take_in_strays(self) -> None:
        """Documents that were put here by hand, under whatever name, become known."""
        changed = self.active.stat().st_mtime_ns
        if changed == self._scanned:
            return
        known = {
            f"session_{file_name(found)}.json"
            for found, e in self._index.entries().items()
            if "record" not in e
        }
        for path in sorted(self.active.glob("*.json")):
            if path.name not in known and not what_is_broken(path):
                self._take_in(path)
        self._scanned = self.active.stat().st_mtime_ns

    def _take_in(self, path: Path) -> None:
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)  # a reader came upon it
        if not path.exists():
            return
        session = newest_of(path)
        here = self._index.entries().get(session.id)
        if here and State(here["state"]) is State.DELETED:
            return
        put_at = int(path.stat().st_mtime * 1000)
        if not session.is_live(put_at):
            session = life.restored(session, put_at, exact=False)
        items = items_of(json.loads(path.read_bytes()))
        path.unlink()
        self._write_document(session, items)
        self._index.enter(session)

    # Documents

    def _find(self, session_id: str) -> Session | None:
        entry = self._index.entries().get(session_id)
        path = self._path(session_id, ".json")
        if path.exists() and (entry is None or entry["state"] == State.ARCHIVED):
            self._take_in(path)
            entry = self._index.entries().get(session_id)
        if entry is None:
            return None
        if "record" in entry:
            return Session.from_json(entry["record"])
        return newest_of(path) if path.exists() else None

    def _readable(self, session_id: str) -> Session | None:
        """As `_find`; a corrupt one is None, so that it hides no other."""
        try:
            return self._find(session_id)
        except RecordCorrupt:
            return None

    def _items(self, session_id: str) -> list[Item]:
        path = self._path(session_id, ".json")
        return history_of(path) if path.exists() else []

    def _apply(self, write: Write) -> Session:
        session = write.session
        path = self._path(session.id, ".json")
        if session.state in GONE:
            self._index.enter(session)
            self._unlink(session.id)
            return session
        if write.workspace is not None:
            self._write_workspace(session.id, write.workspace)
        if write.keep_items == 0 or not path.exists():
            self._write_document(session, write.items)
        else:
            self._append(session, write)
        self._index.enter(session)
        return session

    def _append(self, session: Session, write: Write) -> None:
        line: Json = {"session": session.to_json()}
        if write.items:
            line["items"] = [item.to_json() for item in write.items]
        if write.keep_items:
            line["keep"] = write.keep_items
        path = self._path(session.id, ".jsonl")
        size = append_line(path, dumps(line))
        self._journals.add(session.id)
        if size > max(_FOLD_BYTES, self._path(session.id, ".json").stat().st_size):
            self._fold(session.id)

    def _fold(self, session_id: str) -> None:
        path = self._path(session_id, ".json")
        if not path.exists() or not path.with_suffix(".jsonl").exists():
            return
        session, items = newest_of(path), self._items(session_id)
        write_atomically(path, document_of(session, items))
        path.with_suffix(".jsonl").unlink()

    def _write_document(self, session: Session, items: Any) -> None:
        path = self._path(session.id, ".json")
        # The journal of an earlier life goes first: behind a new document it would be read as news.
        path.with_suffix(".jsonl").unlink(missing_ok=True)
        write_atomically(path, document_of(session, items))

    def _workspace(self, session_id: str) -> str:
        path = self._path(session_id, ".txt")
        return path.read_bytes().decode() if path.exists() else ""

    def _write_workspace(self, session_id: str, text: str) -> None:
        path = self._path(session_id, ".txt")
        if text:
            write_atomically(path, text.encode())
        else:
            path.unlink(missing_ok=True)

    def _unlink(self, session_id: str) -> None:
        for suffix in (".json", ".jsonl", ".txt"):
            self._path(session_id, suffix).unlink(missing_ok=True)
        self._journals.discard(session_id)

    def _quarantine(self, path: Path) -> None:
        target = self.root / "quarantine"
        target.mkdir(exist_ok=True, mode=0o700)
        for broken in (path, path.with_suffix(".jsonl")):
            if broken.exists():
                broken.replace(target / broken.name)
        known = self._index.entries()
        self._index.leave(
            [found for found in known if f"session_{file_name(found)}.json" == path.name]
        )

    def _path(self, session_id: str, suffix: str) -> Path:
        return self.active / f"session_{file_name(session_id)}{suffix}"
