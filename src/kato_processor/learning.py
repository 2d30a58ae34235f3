"""Writing lessons into a node's file; every function belongs inside one transaction."""

import json
import sqlite3
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite

from kato_processor.database import number
from kato_processor.matching import Events, flat
from kato_processor.memory import Emotives, Lesson, NamedVector, average, united, window
from kato_processor.naming import bare

Notes = tuple[list[Emotives], dict[str, list[str]]]
_LEARN = """
INSERT INTO patterns (name, events, length, frequency, revision) VALUES (?, ?, ?, 1, ?)
ON CONFLICT (name) DO UPDATE SET frequency = frequency + 1, revision = excluded.revision
RETURNING id
"""
_MARK = """
INSERT INTO lessons VALUES (?, ?)
ON CONFLICT (learner) DO UPDATE SET last = excluded.last WHERE last < excluded.last
"""
_FEEL = """
INSERT INTO symbol_affinities VALUES (?, ?, ?)
ON CONFLICT (symbol, emotive) DO UPDATE SET total = total + excluded.total
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Lessons of one session, numbered so that the same batch is never learned twice."""

    learner: str
    number: int
    lessons: Sequence[Lesson]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPattern:
    """A pattern with everything that was learned about it."""

    name: str
    events: Events
    frequency: int
    emotives: list[Emotives]
    metadata: dict[str, list[str]]


def learn(db: sqlite3.Connection, batch: Batch, persistence: int) -> None:
    """Learn the lessons, unless this batch was learned before."""
    if db.execute(_MARK, (batch.learner, batch.number)).rowcount == 0:
        return
    revision = raised(db, "revision")
    for lesson in batch.lessons:
        keep_vectors(db, lesson.vectors)
        if lesson.name:
            _learn(db, lesson, persistence, revision)


def _learn(db: sqlite3.Connection, lesson: Lesson, persistence: int, revision: int) -> None:
    pattern = _row(db, bare(lesson.name), lesson.events, revision)
    if lesson.emotives or lesson.metadata:
        emotives, metadata = noted(db, pattern)
        _note(
            db,
            pattern,
            window([*emotives, *lesson.emotives], persistence),
            united(metadata, lesson.metadata),
        )
    feel(db, flat(lesson.events), average(lesson.emotives))


def put(db: sqlite3.Connection, pattern: StoredPattern) -> None:
    """Add what was learned elsewhere: frequencies add up, notes are united."""
    row = _row(db, pattern.name, pattern.events, raised(db, "revision"))
    more = (pattern.frequency - 1, row)
    db.execute("UPDATE patterns SET frequency = frequency + ? WHERE id = ?", more)
    emotives, metadata = noted(db, row)
    both = {
        key: sorted({*metadata.get(key, ()), *pattern.metadata.get(key, ())})
        for key in [*metadata, *pattern.metadata]
    }
    _note(db, row, [*emotives, *pattern.emotives], both)


def _row(db: sqlite3.Connection, name: str, events: Events, revision: int) -> int:
    text = json.dumps(events, ensure_ascii=False, separators=(",", ":"))
    return number(db, _LEARN, (name, text, sum(map(len, events)), revision))


def noted(db: sqlite3.Connection, pattern: int) -> Notes:
    """Emotives and metadata of a pattern."""
    found = db.execute(
        "SELECT emotives, metadata FROM pattern_metadata WHERE pattern = ?", (pattern,)
    ).fetchone()
    return (json.loads(found[0]), json.loads(found[1])) if found else ([], {})


def _note(
    db: sqlite3.Connection,
    pattern: int,
    emotives: list[Emotives],
    metadata: dict[str, list[str]],
) -> None:
    notes = (pattern, json.dumps(emotives), json.dumps(metadata))
    db.execute("REPLACE INTO pattern_metadata VALUES (?, ?, ?)", notes)


def feel(db: sqlite3.Connection, symbols: Iterable[str], felt: Emotives) -> None:
    """Add to the affinity of each distinct symbol; what is not a number adds nothing."""
    values = [(name, value) for name, value in felt.items() if isfinite(value)]
    db.executemany(_FEEL, [(symbol, *value) for symbol in set(symbols) for value in values])


def forget(db: sqlite3.Connection, name: str) -> bool:
    """Delete a pattern, and what is felt about symbols that no pattern holds any more."""
    deleted = db.execute("DELETE FROM patterns WHERE name = ? RETURNING events", (name,)).fetchone()
    if deleted is None:
        return False
    felt = {symbol for (symbol,) in db.execute("SELECT DISTINCT symbol FROM symbol_affinities")}
    unheld = felt.intersection(flat(json.loads(deleted[0])))
    for (events,) in db.execute("SELECT events FROM patterns"):
        if not unheld:
            break
        unheld.difference_update(flat(json.loads(events)))
    gone = [(symbol,) for symbol in unheld]
    db.executemany("DELETE FROM symbol_affinities WHERE symbol = ?", gone)
    raised(db, "generation")
    return True


def keep_vectors(db: sqlite3.Connection, vectors: Sequence[NamedVector]) -> None:
    """Keep vectors of the collection's dimension, which the first one decides."""
    for name, elements in vectors:
        dimension = number(db, "SELECT value FROM global_metadata WHERE key = 'vector_dimension'")
        if elements and not dimension:
            dimension = len(elements)
            set_global(db, "vector_dimension", dimension)
        if elements and dimension == len(elements):
            db.execute(
                "INSERT OR IGNORE INTO vectors (name, elements) VALUES (?, ?)",
                (name, array("d", elements).tobytes()),
            )


def raised(db: sqlite3.Connection, key: str) -> int:
    """A counter of the global metadata, raised by one."""
    return number(
        db, "UPDATE global_metadata SET value = value + 1 WHERE key = ? RETURNING value", (key,)
    )


def set_global(db: sqlite3.Connection, key: str, value: int) -> None:
    db.execute("REPLACE INTO global_metadata VALUES (?, ?)", (key, value))
