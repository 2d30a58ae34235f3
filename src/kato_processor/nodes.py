"""All nodes of a data folder: opened on first use, the longest unused closed beyond a limit."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kato_processor.naming import node_file
from kato_processor.node import Node

MAX_OPEN = 100


class Nodes:
    """Thread-safe. Closing a node loses nothing: it is opened again when asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Node] = OrderedDict()

    @contextmanager
    def using(self, node_id: str) -> Iterator[Node]:
        """The node, kept open meanwhile; counts as an access."""
        with self._held(node_id) as node:
            node.access_count += 1
            node.last_accessed = time.time()
            yield node

    @contextmanager
    def _held(self, node_id: str) -> Iterator[Node]:
        with self._lock:
            node = self._open.get(node_id)
            if node is None:
                node = self._open[node_id] = self._opened(node_id)
            self._open.move_to_end(node_id)
            node.users += 1
            self._close_surplus()
        try:
            yield node
        finally:
            with self._lock:
                node.users -= 1

    def _opened(self, node_id: str) -> Node:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Node(node_id, self.folder / node_file(node_id))

    def _close_surplus(self) -> None:
        for node_id in [name for name, node in self._open.items() if not node.users]:
            if len(self._open) <= MAX_OPEN:
                return
            self._open.pop(node_id).close()

    def exists(self, node_id: str) -> bool:
        """Whether the node has a file; looking never makes one."""
        return (self.folder / node_file(node_id)).exists()

    def counts(self) -> dict[str, dict[str, int]]:
        """Patterns, symbols, vectors and bytes of every open node."""
        counted = {}
        for node in self.open_nodes():
            with self._held(node.node_id) as held:
                counted[node.node_id] = held.counts()
        return counted

    def open_nodes(self) -> list[Node]:
        with self._lock:
            return list(self._open.values())

    def close(self) -> None:
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()
