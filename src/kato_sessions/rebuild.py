"""Rebuild lost sessions from logs.

A log folder holds `*.jsonl` (or `*.jsonl.gz`, `*.log`) files. Each line is one JSON object, one
item of one session:

    {"session_id": "abc", "ts": "2025-01-18T10:00:00Z", "role": "user", "content": "hello",
     "kind": "query", "user_id": "u1", "node_id": "n1", "data": {...},
     "latency_ms": 12.5, "status": 200, "instance_id": "a"}

`session_id`, `role` and `content` are required; `timestamp` may stand for `ts`, and a number is
seconds (ms from 10^11 on). Lines are ordered by time, ties by their place. Lines that cannot be
read are counted and named, and do not stop the rest.
"""

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kato_sessions import life
from kato_sessions.backend import Record
from kato_sessions.errors import InvalidSession
from kato_sessions.model import Counters, Item, Session, checked_id, plain
from kato_sessions.profile import Profile
from kato_sessions.store import Store

_SUFFIXES = (".jsonl", ".jsonl.gz", ".log")
_MS_FROM = 10**11


@dataclass(slots=True)
class Rebuilt:
    """Ids made again, ids that were there already, and the lines that could not be read."""

    session_ids: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def rebuild_sessions(store: Store, logs: Path, *, overwrite: bool = False) -> Rebuilt:
    """Make the sessions that the logs tell of, live from now; those the store has are left alone.

    Raises InvalidSession if `logs` is no folder or file.
    """
    result = Rebuilt()
    entries: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for where, text in _lines(logs):
        try:
            line = json.loads(text)
            session_id = checked_id(line["session_id"])
            entry = (_moment(line), _checked(line))
        except (ValueError, TypeError, KeyError, InvalidSession) as error:
            result.unreadable.append(f"{where}: {error}")
            continue
        entries.setdefault(session_id, []).append(entry)
    for session_id, lines in entries.items():
        if store.peek(session_id) is not None and not overwrite:
            result.present.append(session_id)
            continue
        store.put_record(
            _record(session_id, lines, store.profile, store.clock()), overwrite=overwrite
        )
        result.session_ids.append(session_id)
    return result


def _lines(logs: Path) -> Iterator[tuple[str, str]]:
    if not logs.exists():
        raise InvalidSession(f"log folder {str(logs)!r} does not exist")
    found = sorted(logs.rglob("*")) if logs.is_dir() else [logs]
    for path in found:
        if path.is_file() and path.name.endswith(_SUFFIXES):
            content = path.read_bytes()
            text = gzip.decompress(content) if path.suffix == ".gz" else content
            for number, line in enumerate(text.decode(errors="replace").splitlines(), 1):
                if line.strip():
                    yield f"{path.name}:{number}", line


def _moment(line: Mapping[str, Any]) -> int:
    value = line.get("ts", line.get("timestamp"))
    if isinstance(value, int | float):
        return int(value if value >= _MS_FROM else value * 1000)
    moment = datetime.fromisoformat(str(value))
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _checked(line: Mapping[str, Any]) -> Mapping[str, Any]:
    if "role" not in line or "content" not in line:
        raise InvalidSession("a line needs session_id, role and content")
    return line


def _record(
    session_id: str, lines: list[tuple[int, Mapping[str, Any]]], profile: Profile, now: int
) -> Record:
    lines.sort(key=lambda entry: entry[0])
    first, last = lines[0][0], lines[-1][0]
    session = Session(
        id=session_id,
        user_id=_first(lines, "user_id"),
        node_id=_first(lines, "node_id"),
        created_at=first,
        last_access=last,
        last_write=last,
        idle_ttl_ms=profile.idle_ttl_ms,
        max_life_ms=profile.max_life_ms,
        expires_at=None,
        metadata={"created_from": "logs"},
    )
    items = life.numbered(session, [_item(at, line) for at, line in lines], last, None)
    session = replace(session, counters=life.counted(Counters(), items))
    live = life.restored(session, now, exact=profile.exact_touch)
    return Record(session=live, items=items)


def _first(lines: list[tuple[int, Mapping[str, Any]]], name: str) -> str | None:
    return next((str(line[name]) for _, line in lines if line.get(name)), None)


def _item(at: int, line: Mapping[str, Any]) -> Item:
    role = str(line["role"])
    return Item(
        id=str(line.get("id", "")),
        ts=at,
        role=role,
        kind=str(line.get("kind", "query" if role == "user" else "response")),
        content=plain(line["content"]),
        data=plain(line.get("data") or {}),
        latency_ms=line.get("latency_ms"),
        status=line.get("status"),
        instance_id=line.get("instance_id"),
    )
