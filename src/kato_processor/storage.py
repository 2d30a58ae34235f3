"""Long-term memory of one node on disk, shared by the processes of a machine.

Every learning is one transaction that raises `revision`; whoever holds a copy in memory asks for
what changed since. `generation` rises when patterns disappear, so that copies start again.
"""

import json
import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from kato_processor.database import connected, transaction
from kato_processor.matching import Events, flat
from kato_processor.memory import Emotives, Lesson, NamedVector, average, united, window
from kato_processor.naming import bare

_LEARN = """
INSERT INTO patterns (name, events, length, frequency, revision) VALUES (?, ?, ?, 1, ?)
ON CONFLICT (name) DO UPDATE SET frequency = frequency + 1, revision = excluded.revision
RETURNING id
"""
_CHANGED = """
SELECT id, name, events, frequency, COALESCE(emotives, '[]')
FROM patterns LEFT JOIN pattern_metadata ON pattern = id
WHERE revision > ? ORDER BY id
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


Row = tuple[int, str, Events, int, list[Emotives]]
Entropies = tuple[float, float, float]


class Storage:
    """One connection; the owner serialises its calls. Other processes may write meanwhile."""

    def __init__(self, path: Path, node_id: str) -> None:
        self.path = path
        self._connection = connected(path, node_id)

    def close(self) -> None:
        self._connection.close()

    def is_shared(self) -> bool:
        """Whether another process has the file open; if not, its journal is folded in."""
        try:
            mode = self._connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
        except sqlite3.OperationalError:
            return True
        return bool(mode != "delete")

    def writing(self) -> AbstractContextManager[None]:
        """One transaction; anything raised rolls it back."""
        return transaction(self._connection)

    def data_version(self) -> int:
        """Changes when another connection has written."""
        return self._number("PRAGMA data_version")

    def state(self) -> dict[str, Any]:
        """The global metadata."""
        return dict(self._connection.execute("SELECT key, value FROM global_metadata"))

    def pattern_count(self) -> int:
        return self._number("SELECT COUNT(*) FROM patterns")

    def newest_row(self) -> int:
        return self._number("SELECT COALESCE(MAX(id), 0) FROM patterns")

    def learn(self, batches: Iterable[tuple[Batch, int]]) -> None:
        """Store the lessons with the persistence to be used, all or nothing.

        A batch that was learned before is skipped: repeating a call after a crash is safe.
        """
        with self.writing():
            revision = self._raise("revision")
            for batch, persistence in batches:
                if self._is_new(batch):
                    for lesson in batch.lessons:
                        self._learn(lesson, persistence, revision)

    def _is_new(self, batch: Batch) -> bool:
        cursor = self._connection.execute(
            "INSERT INTO lessons VALUES (?, ?) ON CONFLICT (learner)"
            " DO UPDATE SET last = excluded.last WHERE last < excluded.last",
            (batch.learner, batch.number),
        )
        return cursor.rowcount > 0

    def _learn(self, lesson: Lesson, persistence: int, revision: int) -> None:
        self._learn_vectors(lesson.vectors)
        symbols = flat(lesson.events)
        if not lesson.name:
            return
        events = json.dumps(lesson.events, ensure_ascii=False, separators=(",", ":"))
        row = (bare(lesson.name), events, len(symbols), revision)
        pattern = self._number(_LEARN, row)
        if lesson.emotives or lesson.metadata:
            self._note(pattern, lesson, persistence)
        self._feel(symbols, average(lesson.emotives))

    def _note(self, pattern: int, lesson: Lesson, persistence: int) -> None:
        emotives, metadata = self._noted(pattern)
        self._write_notes(
            pattern,
            window([*emotives, *lesson.emotives], persistence),
            united(metadata, lesson.metadata),
        )

    def _write_notes(
        self, pattern: int, emotives: list[Emotives], metadata: dict[str, list[str]]
    ) -> None:
        self._connection.execute(
            "REPLACE INTO pattern_metadata VALUES (?, ?, ?)",
            (pattern, json.dumps(emotives), json.dumps(metadata)),
        )

    def _noted(self, pattern: int) -> tuple[list[Emotives], dict[str, list[str]]]:
        found = self._connection.execute(
            "SELECT emotives, metadata FROM pattern_metadata WHERE pattern = ?", (pattern,)
        ).fetchone()
        return (json.loads(found[0]), json.loads(found[1])) if found else ([], {})

    def _feel(self, symbols: Iterable[str], felt: Emotives) -> None:
        self._connection.executemany(
            "INSERT INTO symbol_affinities VALUES (?, ?, ?)"
            " ON CONFLICT (symbol, emotive) DO UPDATE SET total = total + excluded.total",
            [
                (symbol, name, value)
                for symbol in set(symbols)
                for name, value in felt.items()
                if isfinite(value)
            ],
        )

    def _learn_vectors(self, vectors: Sequence[NamedVector]) -> None:
        """The first vector decides the dimension of the node's collection."""
        for name, elements in vectors:
            dimension = self._number(
                "SELECT value FROM global_metadata WHERE key = 'vector_dimension'"
            )
            if not dimension and elements:
                self._set("vector_dimension", len(elements))
            elif dimension != len(elements):
                continue
            self._connection.execute(
                "INSERT OR IGNORE INTO vectors (name, elements) VALUES (?, ?)",
                (name, _packed(elements)),
            )

    def changed_since(self, revision: int) -> Iterator[Row]:
        """Patterns learned or learned again since, in the order they were first learned."""
        for row, name, events, frequency, emotives in self._connection.execute(
            _CHANGED, (revision,)
        ):
            yield row, name, json.loads(events), frequency, json.loads(emotives)

    def vectors_after(self, row: int) -> list[tuple[int, str, bytes]]:
        return self._connection.execute(
            "SELECT id, name, elements FROM vectors WHERE id > ? ORDER BY id", (row,)
        ).fetchall()

    def trained(self) -> dict[int, Entropies]:
        rows = self._connection.execute("SELECT * FROM trained")
        return {row: (entropy, normalized, overall) for row, entropy, normalized, overall in rows}

    def train(self, entropies: Iterable[tuple[int, Entropies]]) -> None:
        """Fix the entropies of these patterns."""
        with self.writing():
            self._connection.executemany(
                "REPLACE INTO trained SELECT id, ?, ?, ? FROM patterns WHERE id = ?",
                ((*values, row) for row, values in entropies),
            )
            self._raise("training")

    def pattern(self, name: str) -> StoredPattern | None:
        found = self._connection.execute(
            "SELECT id, events, frequency FROM patterns WHERE name = ?", (name,)
        ).fetchone()
        if found is None:
            return None
        emotives, metadata = self._noted(found[0])
        return StoredPattern(
            name=name,
            events=json.loads(found[1]),
            frequency=found[2],
            emotives=emotives,
            metadata=metadata,
        )

    def patterns(self) -> Iterator[StoredPattern]:
        """Every pattern in the order of first learning."""
        for events, name, frequency, emotives, metadata in self._connection.execute(
            "SELECT events, name, frequency, COALESCE(emotives, '[]'), COALESCE(metadata, '{}')"
            " FROM patterns LEFT JOIN pattern_metadata ON pattern = id ORDER BY id"
        ):
            yield StoredPattern(
                name=name,
                events=json.loads(events),
                frequency=frequency,
                emotives=json.loads(emotives),
                metadata=json.loads(metadata),
            )

    def put(self, pattern: StoredPattern) -> None:
        """Add what was learned elsewhere: frequencies add up. Call inside `writing()`."""
        events = json.dumps(pattern.events, ensure_ascii=False, separators=(",", ":"))
        revision = self._raise("revision")
        row = self._number(_LEARN, (pattern.name, events, sum(map(len, pattern.events)), revision))
        self._connection.execute(
            "UPDATE patterns SET frequency = frequency + ? WHERE id = ?",
            (pattern.frequency - 1, row),
        )
        emotives, metadata = self._noted(row)
        united_metadata = {
            key: sorted({*metadata.get(key, ()), *pattern.metadata.get(key, ())})
            for key in [*metadata, *pattern.metadata]
        }
        self._write_notes(row, [*emotives, *pattern.emotives], united_metadata)

    def put_affinity(self, symbol: str, totals: Emotives) -> None:
        """Add to the affinities of a symbol. Call inside `writing()`."""
        self._feel([symbol], totals)

    def put_vectors(self, vectors: Sequence[NamedVector]) -> None:
        """Add vectors. Call inside `writing()`."""
        self._learn_vectors(vectors)

    def forget(self, name: str) -> bool:
        """Delete one pattern; whether it was there."""
        with self.writing():
            deleted = self._connection.execute("DELETE FROM patterns WHERE name = ?", (name,))
            if deleted.rowcount:
                self._raise("generation")
        return deleted.rowcount > 0

    def clear(self) -> None:
        """Forget everything but the node's own name."""
        with self.writing():
            for table in (
                "trained",
                "pattern_metadata",
                "patterns",
                "symbol_affinities",
                "vectors",
            ):
                self._connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
            self._set("vector_dimension", 0)
            self._raise("generation")

    def affinities(self) -> dict[str, Emotives]:
        """Per symbol the sum of the average emotives of every learning."""
        found: dict[str, Emotives] = {}
        for symbol, emotive, total in self._connection.execute("SELECT * FROM symbol_affinities"):
            found.setdefault(symbol, {})[emotive] = total
        return found

    def affinity(self, symbol: str) -> Emotives:
        rows = self._connection.execute(
            "SELECT emotive, total FROM symbol_affinities WHERE symbol = ?", (symbol,)
        )
        return dict(rows)

    def size_bytes(self) -> int:
        """Size of the file and its journal."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def _raise(self, key: str) -> int:
        return self._number(
            "UPDATE global_metadata SET value = value + 1 WHERE key = ? RETURNING value", (key,)
        )

    def _set(self, key: str, value: int) -> None:
        self._connection.execute("REPLACE INTO global_metadata VALUES (?, ?)", (key, value))

    def _number(self, query: str, parameters: Sequence[object] = ()) -> int:
        value: int = self._connection.execute(query, parameters).fetchone()[0]
        return value


def _packed(elements: Sequence[float]) -> bytes:
    return array("d", elements).tobytes()
