"""The health of a store: figures, corrupt records, and warnings when a bound is passed."""

from dataclasses import dataclass

from kato_sessions.archive import Archive
from kato_sessions.errors import RecordCorrupt
from kato_sessions.store import Store

ACTIVE_SHARE = 0.9
_LARGEST = 10
_SCAN = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What `examine` found; `warnings` is empty when all is well.

    `corrupt` is (place, reason) per record, `largest` (session id, items) of the newest sessions.
    """

    place: str
    live: int
    records: int
    overdue: int
    archived: int
    size_bytes: int
    corrupt: tuple[tuple[str, str], ...]
    largest: tuple[tuple[str, int], ...]
    warnings: tuple[str, ...]


def examine(
    store: Store,
    *,
    archive: Archive | None = None,
    quarantine: bool = False,
    max_bytes: int | None = None,
) -> Health:
    """Read every record once; `quarantine` sets corrupt ones aside so that the rest works.

    Warns above 90 % of the profile's limit of sessions (the guide's 900 of 1,000), above
    `max_bytes`, of sessions a sweep should have ended, and of corrupt records.
    """
    corrupt = tuple(store.backend.corrupt(quarantine=quarantine))
    broken = _broken_archives(archive)
    live = store.count()
    size_bytes = store.backend.size_bytes()
    overdue = len(store.due(_SCAN))
    return Health(
        place=str(store.backend.info()["place"]),
        live=live,
        records=store.count(live=False),
        overdue=overdue,
        archived=archive.count() if archive else 0,
        size_bytes=size_bytes,
        corrupt=corrupt + broken,
        largest=_largest(store),
        warnings=tuple(
            _warnings(store, live, size_bytes, overdue, len(corrupt + broken), max_bytes)
        ),
    )


def _largest(store: Store) -> tuple[tuple[str, int], ...]:
    page = store.list(live=False, limit=_SCAN)
    sizes = sorted(((one.counters.items, one.id) for one in page.sessions), reverse=True)
    return tuple((session_id, items) for items, session_id in sizes[:_LARGEST])


def _broken_archives(archive: Archive | None) -> tuple[tuple[str, str], ...]:
    if archive is None:
        return ()
    found = []
    for one in archive.list():
        try:
            archive.load(one.path)
        except RecordCorrupt as error:
            found.append((str(one.path), str(error)))
    return tuple(found)


def _warnings(
    store: Store, live: int, size_bytes: int, overdue: int, corrupt: int, max_bytes: int | None
) -> list[str]:
    limit = store.profile.max_sessions
    found = []
    if limit and live > limit * ACTIVE_SHARE:
        found.append(f"{live} live sessions of at most {limit}")
    if max_bytes is not None and size_bytes > max_bytes:
        found.append(f"{size_bytes} bytes stored, more than {max_bytes}")
    if overdue:
        found.append(f"{overdue} sessions wait to be cleaned up: kato sessions cleanup")
    if corrupt:
        found.append(f"{corrupt} corrupt records: kato sessions doctor --fix")
    return found
