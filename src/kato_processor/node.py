"""One node: what it knows, on disk and in memory, for all sessions that share its id."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kato_processor import vectors
from kato_processor.index import Index
from kato_processor.learning import Batch, StoredPattern
from kato_processor.matching import Events
from kato_processor.memory import Emotives, NamedVector
from kato_processor.nearest import Collection
from kato_processor.storage import Entropies, Storage

if TYPE_CHECKING:
    from kato_processor.prediction import Recall


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolCount:
    frequency: int
    pattern_member_frequency: int


class Node:
    """Thread-safe; several processes may open the same node and see each other's learning."""

    def __init__(self, node_id: str, path: Path) -> None:
        self.node_id = node_id
        self.created_at = self.last_accessed = time.time()
        self.access_count = 0
        self.users = 0
        self._lock = threading.RLock()
        self._storage = Storage(path, node_id)
        self._forget_copy()

    def _forget_copy(self) -> None:
        self._index = Index()
        self._vectors = Collection()
        self._trained: dict[int, Entropies] = {}
        self._known = {"revision": 0, "generation": -1, "training": 0}
        self._newest_vector = 0
        self._seen_version = -1

    def close(self) -> None:
        with self._lock:
            self._storage.close()

    @contextmanager
    def _current(self) -> Iterator[Index]:
        """The index, brought up to date with what other processes have learned."""
        with self._lock:
            version = self._storage.data_version()
            if version != self._seen_version:
                self._catch_up()
                self._seen_version = version
            yield self._index

    def _catch_up(self) -> None:
        state = self._storage.state()
        if state["generation"] != self._known["generation"]:
            self._forget_copy()
        if state["revision"] != self._known["revision"]:
            for row, name, events, frequency, emotives in self._storage.changed_since(
                self._known["revision"]
            ):
                self._index.put(
                    row=row, name=name, events=events, frequency=frequency, emotives=emotives
                )
            self._take_vectors()
        if state["training"] != self._known["training"]:
            self._trained = self._storage.trained()
        self._known = state

    def _take_vectors(self) -> None:
        for row, name, elements in self._storage.vectors_after(self._newest_vector):
            self._vectors.add(name, elements)
            self._newest_vector = row

    def learn(self, batch: Batch, persistence: int) -> None:
        """Learn a session's lessons durably; learning the same batch again changes nothing."""
        with self._lock:
            self._storage.learn(batch, persistence)
            self._seen_version = -1

    def newest_row(self) -> int:
        """The number of the newest pattern."""
        with self._lock:
            return self._storage.newest_row()

    def near_vectors(self, sent: Sequence[Sequence[float]]) -> tuple[set[str], NamedVector]:
        """The symbols of an observation's vectors, and the vector that learning would keep."""
        vector = vectors.summed(sent)
        name = vectors.name(vector)
        with self._current():
            return {name, *self._vectors.nearest(vector)}, (name, vector.tolist())

    def predict(
        self, events: Events, config: Mapping[str, Any], newest_row: int | None = None
    ) -> "Recall":
        """What these events recall; `newest_row` leaves out what was learned later."""
        from kato_processor.recalling import recalled

        with self._current() as index:
            return recalled(
                index,
                events,
                config,
                trained=self._trained,
                affinity_of=self._storage.affinity,
                newest_row=newest_row,
            )

    def finalize(self) -> int:
        """Fix the entropies of all patterns known now; how many."""
        from kato_processor.recalling import entropies

        with self._current() as index:
            self._storage.train(entropies(index))
            self._seen_version = -1
            return len(index)

    def clear(self) -> None:
        with self._lock:
            self._storage.clear()
            self._seen_version = -1

    def pattern(self, name: str) -> StoredPattern | None:
        with self._lock:
            return self._storage.pattern(name)

    def forget(self, name: str) -> bool:
        """Delete one pattern; whether it was there."""
        with self._lock:
            forgotten = self._storage.forget(name)
            self._seen_version = -1
            return forgotten

    def symbols(self) -> dict[str, SymbolCount]:
        with self._current() as index:
            return {
                symbol: SymbolCount(
                    frequency=postings.frequency, pattern_member_frequency=postings.patterns()
                )
                for symbol, postings in index.symbols().items()
            }

    def affinities(self) -> dict[str, Emotives]:
        with self._lock:
            return self._storage.affinities()

    def affinity(self, symbol: str) -> Emotives:
        with self._lock:
            return self._storage.affinity(symbol)

    def counts(self) -> dict[str, int]:
        """Patterns, distinct symbols, vectors and bytes on disk."""
        with self._current() as index:
            return {
                "patterns": len(index),
                "symbols": index.vocabulary,
                "vectors": len(self._vectors),
                "size_bytes": self._storage.size_bytes(),
            }
