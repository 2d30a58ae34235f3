"""The health of a store: figures, corrupt records, and warnings when a bound is passed."""

from dataclasses import dataclass
from heapq import nlargest

from kato_sessions.archive import Archive
from kato_sessions.errors import RecordCorrupt, SessionSealed
from kato_sessions.store import Store

ACTIVE_SHARE = 0.9
_LARGEST = 10
_SCAN = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What `examine` found; `warnings` is empty when all is well.

    `sealed` counts sessions and archives whose key is not given; `corrupt` is (place, reason) per
    record, `largest` (session id, items) of the longest histories.
    """

    place: str
    live: int
    records: int
    overdue: int
    archived: int
    size_bytes: int
    sealed: int
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

    A corrupt item leaves an empty one of kind `corrupt` in the history of its session. Warns above
    90 % of the profile's limit of sessions (the guide's 900 of 1,000), above `max_bytes`, of what a
    sweep should have ended, of what is sealed with another key, and of corrupt records.
    """
    corrupt = list(store.backend.corrupt(quarantine=quarantine))
    sealed, largest = _looked_through(store)
    sealed_archives, broken_archives = _looked_into(store, archive)
    corrupt += broken_archives
    figures = {
        "live": store.count(),
        "size_bytes": store.backend.size_bytes(),
        "overdue": len(store.due(_SCAN)),
        "sealed": sealed + sealed_archives,
    }
    return Health(
        place=str(store.backend.info()["place"]),
        records=store.count(live=False),
        archived=archive.count() if archive else 0,
        corrupt=tuple(corrupt),
        largest=largest,
        warnings=tuple(_warnings(store, len(corrupt), max_bytes, **figures)),
        **figures,
    )


def _looked_through(store: Store) -> tuple[int, tuple[tuple[str, int], ...]]:
    """How many sessions do not open with the keys that are given, and which are the largest."""
    sealed = 0
    largest: list[tuple[int, str]] = []
    for one in store.every(live=False):
        sealed += bool(one.sealed)
        largest = nlargest(_LARGEST, [*largest, (one.counters.items, one.id)])
    return sealed, tuple((session_id, items) for items, session_id in largest)


def _looked_into(store: Store, archive: Archive | None) -> tuple[int, list[tuple[str, str]]]:
    """How many archives do not open with the keys that are given, and which are broken."""
    sealed, broken = 0, list[tuple[str, str]]()
    if archive is None:
        return sealed, broken
    for one in archive.list():
        try:
            store.opened(archive.load(one.path))
        except SessionSealed:
            sealed += 1
        except RecordCorrupt as error:
            broken.append((str(one.path), str(error)))
    return sealed, broken


def _warnings(
    store: Store,
    corrupt: int,
    max_bytes: int | None,
    *,
    live: int,
    size_bytes: int,
    overdue: int,
    sealed: int,
) -> list[str]:
    limit = store.profile.max_sessions
    found = []
    if limit and live > limit * ACTIVE_SHARE:
        found.append(f"{live} live sessions of at most {limit}")
    if max_bytes is not None and size_bytes > max_bytes:
        found.append(f"{size_bytes} bytes stored, more than {max_bytes}")
    if overdue:
        found.append(f"{overdue} sessions wait to be cleaned up: kato sessions cleanup")
    if sealed:
        found.append(f"{sealed} sessions or archives are sealed with a key that is not given")
    if corrupt:
        found.append(f"{corrupt} corrupt records: kato sessions doctor --fix")
    return found
