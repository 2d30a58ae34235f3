"""Ended sessions as files by date, readable with `gunzip` and `python -m json.tool`.

<folder>/YYYY-MM-DD/session_<name>.json.gz     the document of `transfer.py`; `.json` unzipped
<folder>/backups/                              copies that other commands make
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from kato_sessions import life
from kato_sessions.backend import Record
from kato_sessions.documents import file_name, id_of, write_atomically
from kato_sessions.errors import InvalidSession, RecordCorrupt, SessionNotFound
from kato_sessions.model import Clock, Session
from kato_sessions.store import Store
from kato_sessions.transfer import from_document, to_document, to_text

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """One archived session: where, of which day (UTC), how large."""

    session_id: str
    day: date
    path: Path
    size_bytes: int


class Archive:
    """Sessions set aside; `restore` brings one back to life."""

    def __init__(self, folder: Path, *, compress: bool = True) -> None:
        self.folder = folder
        self.compress = compress

    def put(self, store: Store, session_id: str) -> Path:
        """Write the session of the day it ended, then let the store drop what it held.

        A crash in between leaves both; archiving again overwrites the same file.
        """
        record = store.record(session_id)
        now = store.clock()
        day = _day(record.session.expired_at or min(record.session.expires_at or now, now))
        suffix = ".json.gz" if self.compress else ".json"
        path = self.folder / day.isoformat() / f"session_{file_name(session_id)}{suffix}"
        _write(path, store.at_rest(record))
        store.archived(session_id)
        return path

    def restore(self, store: Store, session_id: str, day: date | None = None) -> Session:
        """Bring back the newest archive, or that of a day: live, with the clocks it had, from now.

        Raises SessionNotFound if there is none and SessionExists if the id is in use.
        """
        found = [one for one in self._of(session_id) if day is None or one.day == day]
        if not found:
            raise SessionNotFound(session_id)
        record = store.opened(self.load(max(found, key=lambda one: one.day).path))
        now = store.clock()
        session = life.restored(record.session, now, exact=store.profile.exact_touch)
        return store.put_record(replace(record, session=session))

    def load(self, path: Path) -> Record:
        """What an archive file holds, sealed if it was; raises RecordCorrupt if it is broken."""
        try:
            return from_document(_read(path))
        except InvalidSession as error:
            raise RecordCorrupt(f"archive {path} cannot be read: {error}") from error

    def rewrite(self, store: Store, one: Archived) -> None:
        """Write it again under the store's present redaction and key."""
        _write(one.path, store.at_rest(store.opened(self.load(one.path))))

    def list(self) -> Iterator[Archived]:
        """All, oldest day first."""
        for folder in self._days():
            for path in sorted(folder.glob("session_*.json*")):
                yield _described(path)

    def count(self) -> int:
        return sum(1 for folder in self._days() for _ in folder.glob("session_*.json*"))

    def size_bytes(self) -> int:
        return sum(one.size_bytes for one in self.list())

    def purge(self, clock: Clock, *, keep_ms: int, dry_run: bool = False) -> tuple[Archived, ...]:
        """Remove the days that ended longer than `keep_ms` ago; gives what went, or would."""
        last = _day(clock() - keep_ms)
        gone = tuple(one for one in self.list() if one.day < last)
        for one in () if dry_run else gone:
            one.path.unlink(missing_ok=True)
        for folder in () if dry_run else self._days():
            if not any(folder.iterdir()):
                folder.rmdir()
        return gone

    def _of(self, session_id: str) -> Iterator[Archived]:
        stem = f"session_{file_name(session_id)}.json"
        for folder in self._days():
            for path in (folder / f"{stem}.gz", folder / stem):
                if path.exists():
                    yield _described(path, session_id)

    def _days(self) -> tuple[Path, ...]:
        if not self.folder.exists():
            return ()
        return tuple(sorted(path for path in self.folder.iterdir() if _DAY.fullmatch(path.name)))


def _described(path: Path, session_id: str | None = None) -> Archived:
    if session_id is None:
        session_id = id_of(path.name.removeprefix("session_").partition(".json")[0])
    return Archived(
        session_id=session_id,
        day=date.fromisoformat(path.parent.name),
        path=path,
        size_bytes=path.stat().st_size,
    )


def _write(path: Path, record: Record) -> None:
    text = to_text(to_document(record)).encode() + b"\n"
    write_atomically(path, gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)


def _read(path: Path) -> object:
    try:
        content = path.read_bytes()
        document: object = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise RecordCorrupt(f"archive {path} cannot be read: {error}") from error
    return document


def _day(moment_ms: int) -> date:
    """In UTC; the first day there is for all that would be earlier."""
    epoch = date(1970, 1, 1)
    return epoch + max(timedelta(milliseconds=moment_ms), date.min - epoch)
