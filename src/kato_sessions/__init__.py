"""Sessions with two clocks in four stores, standard library only."""

from importlib import import_module
from typing import Any

_HOMES = {
    "kato_sessions.aio": ("Asynchronous",),
    "kato_sessions.archive": ("Archive", "Archived"),
    "kato_sessions.audit": ("AuditLog",),
    "kato_sessions.chat": ("ChatResponse", "ChatSession", "Message", "SessionStore"),
    "kato_sessions.cipher": ("Cipher",),
    "kato_sessions.client": (
        "KATOClient",
        "KATOError",
        "KATOSessionError",
        "ResilientKATOClient",
    ),
    "kato_sessions.connect": ("open_store",),
    "kato_sessions.doctor": ("Health", "examine"),
    "kato_sessions.errors": (
        "InvalidSession",
        "RecordCorrupt",
        "SessionError",
        "SessionExists",
        "SessionLimit",
        "SessionNotFound",
        "SessionSealed",
        "StoreUnavailable",
        "VersionConflict",
    ),
    "kato_sessions.janitor": ("Janitor", "Swept"),
    "kato_sessions.model": ("Affinity", "Counters", "Item", "Session", "State"),
    "kato_sessions.paging": ("Page",),
    "kato_sessions.profile": ("CHAT", "KATO", "PROFILES", "PULSEPAL", "SERVICE", "Profile"),
    "kato_sessions.pulsepal": ("ConversationContext", "SessionManager", "Settings"),
    "kato_sessions.rebuild": ("rebuild_sessions",),
    "kato_sessions.resolve": ("resolve_session",),
    "kato_sessions.store": ("Store",),
    "kato_sessions.transfer": ("export_session", "import_session", "migrate"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Names are imported when first used: most callers need only one store."""
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_HOME_OF)
