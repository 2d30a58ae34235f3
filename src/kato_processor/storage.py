"""Long-term memory of one node on disk, shared by the processes of a machine.

Every learning is one transaction that raises `revision`; whoever holds a copy in memory asks for
what changed since. `generation` rises when patterns disappear, so that copies start again.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from kato_processor import learning
from kato_processor.database import connected, number, transaction
from kato_processor.learning import Batch, StoredPattern
from kato_processor.matching import Events
from kato_processor.memory import Emotives, NamedVector

_CHANGED = """
SELECT id, name, events, frequency, COALESCE(emotives, '[]')
FROM patterns LEFT JOIN pattern_metadata ON pattern = id
WHERE revision > ? ORDER BY id
"""


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
        return number(self._connection, "PRAGMA data_version")

    def state(self) -> dict[str, Any]:
        """The global metadata."""
        return dict(self._connection.execute("SELECT key, value FROM global_metadata"))

    def pattern_count(self) -> int:
        return number(self._connection, "SELECT COUNT(*) FROM patterns")

    def newest_row(self) -> int:
        return number(self._connection, "SELECT COALESCE(MAX(id), 0) FROM patterns")

    def learn(self, batch: Batch, persistence: int) -> None:
        """Store the lessons, all or nothing; a batch that was learned before is skipped."""
        with self.writing():
            learning.learn(self._connection, batch, persistence)

    def changed_since(self, revision: int) -> Iterator[Row]:
        """Patterns learned or learned again since, in the order they were first learned."""
        for row, name, events, frequency, emotives in self._connection.execute(
            _CHANGED, (revision,)
        ):
            yield row, name, json.loads(events), frequency, json.loads(emotives)

    def vectors_after(self, row: int) -> Iterator[tuple[int, str, bytes]]:
        """Vectors learned since that one, in order; elements are float64."""
        return self._connection.execute(
            "SELECT id, name, elements FROM vectors WHERE id > ? ORDER BY id", (row,)
        )

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
            learning.raised(self._connection, "training")

    def pattern(self, name: str) -> StoredPattern | None:
        found = self._connection.execute(
            "SELECT id, events, frequency FROM patterns WHERE name = ?", (name,)
        ).fetchone()
        if found is None:
            return None
        emotives, metadata = learning.noted(self._connection, found[0])
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
        """Add what was learned elsewhere. Call inside `writing()`."""
        learning.put(self._connection, pattern)

    def put_affinity(self, symbol: str, totals: Emotives) -> None:
        """Add to the affinities of a symbol. Call inside `writing()`."""
        learning.feel(self._connection, [symbol], totals)

    def put_vectors(self, vectors: Sequence[NamedVector]) -> None:
        """Add vectors. Call inside `writing()`."""
        learning.keep_vectors(self._connection, vectors)

    def forget(self, name: str) -> bool:
        """Delete one pattern and the affinities that no other one keeps; whether it was there."""
        with self.writing():
            return learning.forget(self._connection, name)

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
            learning.set_global(self._connection, "vector_dimension", 0)
            learning.raised(self._connection, "generation")

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
