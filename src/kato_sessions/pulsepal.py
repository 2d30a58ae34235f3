"""The PulsePal guide's names over a file store: SessionManager, ConversationContext, Settings."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Self

from kato_sessions import config
from kato_sessions.archive import Archive
from kato_sessions.connect import open_store
from kato_sessions.documents import write_atomically
from kato_sessions.errors import SessionNotFound
from kato_sessions.janitor import Janitor, Swept
from kato_sessions.model import DAY_MS, HOUR_MS, Clock, Item, Json, Session, now_ms
from kato_sessions.profile import PULSEPAL, Profile
from kato_sessions.transfer import export_session, import_session, to_text

_MIB = 1 << 20
_LANGUAGES = {"matlab": "matlab", "m": "matlab", "python": "python", "py": "python"}


def _environment() -> tuple[Profile, str | None]:
    return config.from_environment(os.environ, PULSEPAL)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The guide's settings; each is what is given, else its environment variable, else default."""

    max_session_duration_hours: float = field(
        default_factory=lambda: (_environment()[0].max_life_ms or 24 * HOUR_MS) / HOUR_MS
    )
    session_inactive_timeout_hours: float = field(
        default_factory=lambda: (_environment()[0].idle_ttl_ms or 2 * HOUR_MS) / HOUR_MS
    )
    max_conversation_history: int = field(default_factory=lambda: _environment()[0].max_items)
    max_active_sessions: int = field(default_factory=lambda: _environment()[0].max_sessions)
    session_archive_days: float = field(
        default_factory=lambda: _environment()[0].archive_keep_ms / DAY_MS
    )
    session_compression: bool = field(default_factory=lambda: _environment()[0].archive_gzip)
    session_storage_path: str | Path = field(
        default_factory=lambda: _environment()[1] or "./sessions"
    )

    def profile(self) -> Profile:
        """The same as rules of a store. Raises InvalidSession for values no store can have."""
        block = {
            "timeout_hours": self.session_inactive_timeout_hours,
            "max_items": self.max_conversation_history,
            "max_sessions": self.max_active_sessions,
            "archive_days": self.session_archive_days,
        }
        profile = config.from_block(block, PULSEPAL).profile
        most = config.from_block({"timeout_hours": self.max_session_duration_hours}).profile
        return replace(profile, max_life_ms=most.idle_ttl_ms, archive_gzip=self.session_compression)


class SessionManager:
    """Sessions as files: made, rotated into archives, restored, measured."""

    def __init__(self, settings: Settings | None = None, *, clock: Clock = now_ms) -> None:
        self.settings = settings or Settings()
        self.root = Path(self.settings.session_storage_path).expanduser()
        profile = self.settings.profile()
        self.store = open_store(f"files:{self.root}", profile=profile, clock=clock)
        self.archive = Archive(self.root / "archive", compress=self.settings.session_compression)
        self.janitor = Janitor(self.store, self.archive)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.store.close()

    # Sessions

    def create_session(self, session_id: str | None = None, *, user_id: str | None = None) -> str:
        return self.store.create(session_id, user_id=user_id).id

    def get_session(self, session_id: str | None = None) -> "ConversationContext":
        """The session, or a new one if no id, an unknown or an expired one is given."""
        try:
            found = self.store.get(session_id, touch=True) if session_id else self.store.create()
        except SessionNotFound:
            found = self.store.create()
        return ConversationContext(self, found.id)

    def list_sessions(self) -> list[Session]:
        """All active ones, newest first."""
        return [*self.store.every()]

    def delete_session(self, session_id: str) -> None:
        self.store.delete(session_id)

    def export_session(self, session_id: str, output: Path | str | None = None) -> Json:
        """The session as one JSON document, also written to `output` if given."""
        document = export_session(self.store, session_id)
        if output is not None:
            write_atomically(Path(output), (to_text(document) + "\n").encode())
        return document

    def import_session(self, source: Path | str | Mapping[str, Any]) -> str:
        """Store an exported document, or the file of one; gives its id."""
        document = source if isinstance(source, Mapping) else json.loads(Path(source).read_bytes())
        return import_session(self.store, document).id

    # Archive

    def archive_session(self, session_id: str) -> Path:
        """Archive it now, expired or not; gives the file."""
        return self.archive.put(self.store, session_id)

    def archive_expired_sessions(self) -> int:
        """Archive what has expired and remove archives past their days; how many archived."""
        return self.cleanup().archived

    def list_archived_sessions(self) -> list[Json]:
        """Each `{session_id, date, path, size_bytes}`, oldest first."""
        return [
            {
                "session_id": one.session_id,
                "date": one.day.isoformat(),
                "path": str(one.path),
                "size_bytes": one.size_bytes,
            }
            for one in self.archive.list()
        ]

    def restore_session(self, session_id: str, day: date | str | None = None) -> str:
        """Bring an archived session back to life; of a day, or the newest."""
        wanted = date.fromisoformat(day) if isinstance(day, str) else day
        return self.archive.restore(self.store, session_id, wanted).id

    def cleanup(self, *, dry_run: bool = False) -> Swept:
        return self.janitor.sweep(dry_run=dry_run)

    def remove_all(self, *, dry_run: bool = False) -> int:
        """Delete every active session and every archive; how many."""
        active = self.list_sessions()
        archives = list(self.archive.list())
        for session in () if dry_run else active:
            self.store.delete(session.id)
        for archived in () if dry_run else archives:
            archived.path.unlink(missing_ok=True)
        return len(active) + len(archives)

    # Figures

    def get_active_session_count(self) -> int:
        return self.store.count()

    def get_session_age_stats(self) -> Json:
        """Ages in hours: count, average, least, most, and the id of the oldest."""
        now = self.store.clock()
        ages = sorted(((now - one.created_at) / HOUR_MS, one.id) for one in self.list_sessions())
        hours = [age for age, _ in ages]
        return {
            "count": len(ages),
            "avg_age_hours": round(sum(hours) / len(hours), 2) if hours else 0.0,
            "min_age_hours": round(hours[0], 2) if hours else 0.0,
            "max_age_hours": round(hours[-1], 2) if hours else 0.0,
            "oldest_session_id": ages[-1][1] if ages else None,
        }

    def get_storage_usage(self) -> Json:
        """Bytes of active sessions and archives, and MiB of both."""
        in_all = self.store.backend.size_bytes()
        archived = self.archive.size_bytes()
        return {
            "active_bytes": in_all - archived,
            "archive_bytes": archived,
            "total_bytes": in_all,
            "storage_mb": round(in_all / _MIB, 3),
        }

    def get_activity_metrics(self) -> Json:
        """Messages and queries of the active sessions, and when one was last used."""
        sessions = self.list_sessions()
        last = max((one.last_access for one in sessions), default=None)
        messages = sum(one.counters.items for one in sessions)
        return {
            "active_count": len(sessions),
            "total_messages": messages,
            "total_queries": sum(one.counters.queries for one in sessions),
            "avg_messages": round(messages / len(sessions), 2) if sessions else 0.0,
            "last_activity": _iso(last) if last else None,
        }

    def get_session_stats(self) -> Json:
        """The dashboard's figures: `active_count archived_count storage_mb avg_age_hours ...`."""
        ages = self.get_session_age_stats()
        return {
            "active_count": ages["count"],
            "archived_count": self.archive.count(),
            "storage_mb": self.get_storage_usage()["storage_mb"],
            "avg_age_hours": ages["avg_age_hours"],
            "oldest_session_id": ages["oldest_session_id"],
        }


class ConversationContext:
    """One conversation: history, preferred language, code examples, metadata; always as stored."""

    def __init__(self, manager: SessionManager, session_id: str) -> None:
        self._store = manager.store
        self.session_id = session_id

    @property
    def conversation_history(self) -> list[Json]:
        """Each `{role, content, timestamp}`, oldest first, as many as the settings keep."""
        return [
            {"role": item.role, "content": item.content, "timestamp": _iso(item.ts)}
            for item in self._items()
            if item.role != "code"
        ]

    @property
    def code_examples(self) -> list[Json]:
        """Each `{code, language, description}`, oldest first."""
        return [
            {"code": item.content, **item.data} for item in self._items() if item.role == "code"
        ]

    @property
    def preferred_language(self) -> str | None:
        """`matlab`, `python`, or None as long as nothing told."""
        language: str | None = self._store.get(self.session_id).context.get("preferred_language")
        return language

    @property
    def metadata(self) -> Json:
        return self._store.get(self.session_id).metadata

    def add_conversation(self, role: str, content: str) -> None:
        """Add a message; a user's mention of MATLAB or Python sets the preferred language."""
        kind = "query" if role == "user" else "response"
        language = _language_of(content) if role == "user" else None
        patch = {"context": {"preferred_language": language}} if language else None
        self._store.append(
            self.session_id, [Item(role=role, kind=kind, content=content)], patch=patch
        )

    def add_code_example(self, code: str, language: str, description: str = "") -> None:
        data = {"language": language, "description": description}
        self._store.append(self.session_id, [Item(role="code", content=code, data=data)])

    def set_preferred_language(self, language: str) -> None:
        """MATLAB or Python, in any case; anything else raises ValueError."""
        known = _LANGUAGES.get(language.lower())
        if known is None:
            raise ValueError(f"language {language!r}: use MATLAB or Python")
        self._store.patch(self.session_id, {"context": {"preferred_language": known}})

    def update_metadata(self, **facts: Any) -> None:
        self._store.patch(self.session_id, {"metadata": facts})

    def get_recent_messages(self, n: int = 10) -> list[Json]:
        return self.conversation_history[-n:] if n > 0 else []

    def _items(self) -> list[Item]:
        most = self._store.profile.max_items or 1 << 31
        return list(self._store.items(self.session_id, limit=most))


def _language_of(text: str) -> str | None:
    """The one of both languages a text names; None if none or both."""
    words = text.lower()
    named = {language for language in ("matlab", "python") if language in words}
    return named.pop() if len(named) == 1 else None


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat().replace("+00:00", "Z")
