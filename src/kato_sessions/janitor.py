"""Ends what is due: archives, marks or purges sessions, and empties old archives.

Expiry itself needs no sweep, since every read judges the deadline; this frees the room.
"""

import os
import socket
import uuid
from dataclasses import dataclass

from kato_sessions.archive import Archive
from kato_sessions.errors import InvalidSession, RecordCorrupt, SessionNotFound
from kato_sessions.model import Session, State
from kato_sessions.store import Store

_LEASE = "janitor"
_LEASE_TTL_MS = 10 * 60_000
_BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """How many sessions a sweep ended, and records and archives it removed for good.

    `session_ids` names the ended ones; `skipped` is True when another process holds the lease.
    """

    expired: int = 0
    archived: int = 0
    purged: int = 0
    archives_removed: int = 0
    session_ids: tuple[str, ...] = ()
    skipped: bool = False

    @property
    def total(self) -> int:
        return self.expired + self.archived + self.purged


class Janitor:
    """One sweeper of a store; several processes may have one, the lease lets a single one work."""

    def __init__(self, store: Store, archive: Archive | None = None) -> None:
        if store.profile.on_expire == "archive" and archive is None:
            raise InvalidSession(f"profile {store.profile.name!r} archives: name an archive folder")
        self.store = store
        self.archive = archive
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"

    def sweep(self, *, dry_run: bool = False, limit: int = 100_000) -> Swept:
        """Handle up to `limit` due sessions; `dry_run` only tells which they would be."""
        if dry_run:
            return self._preview(limit)
        if not self.store.lease(_LEASE, self._holder, _LEASE_TTL_MS):
            return Swept(skipped=True)
        try:
            return self._sweep(limit)
        finally:
            self.store.lease(_LEASE, self._holder, 0)

    def _preview(self, limit: int) -> Swept:
        due = self.store.due(limit)
        kinds = [self._kind(session) for session in due]
        removed = self._purge_archives(dry_run=True)
        return _tally(kinds, [session.id for session in due], removed)

    def _sweep(self, limit: int) -> Swept:
        kinds: list[str] = []
        ids: list[str] = []
        while len(ids) < limit:
            due = self.store.due(min(_BATCH, limit - len(ids)))
            ended = [(self._end(session), session.id) for session in due]
            done = [(kind, session_id) for kind, session_id in ended if kind]
            if not done:
                break
            kinds += [kind for kind, _ in done]
            ids += [session_id for _, session_id in done]
        return _tally(kinds, ids, self._purge_archives(dry_run=False))

    def _kind(self, session: Session) -> str:
        on_expire = self.store.profile.on_expire
        if on_expire == "archive" and session.state in {State.ACTIVE, State.EXPIRED}:
            return "archived"
        if session.state is not State.ACTIVE or on_expire == "purge":
            return "purged"
        return "expired"

    def _end(self, session: Session) -> str | None:
        """What was done with it; None if it was refreshed or ended by another meanwhile."""
        kind = self._kind(session)
        if kind == "purged":
            return kind if self.store.end(session.id, how="purge") else None
        if session.state is State.ACTIVE and not self.store.end(session.id, how="soft"):
            return None
        if kind == "archived" and self.archive:
            try:
                self.archive.put(self.store, session.id)
            except (SessionNotFound, RecordCorrupt):  # stays, and hinders no other
                return None
        return kind

    def _purge_archives(self, *, dry_run: bool) -> int:
        if self.archive is None:
            return 0
        keep_ms = self.store.profile.archive_keep_ms
        return len(self.archive.purge(self.store.clock, keep_ms=keep_ms, dry_run=dry_run))


def _tally(kinds: list[str], ids: list[str], archives_removed: int) -> Swept:
    return Swept(
        expired=kinds.count("expired"),
        archived=kinds.count("archived"),
        purged=kinds.count("purged"),
        archives_removed=archives_removed,
        session_ids=tuple(ids),
    )
