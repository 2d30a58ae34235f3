"""A node's knowledge as JSON lines, to be moved between machines.

{"kato_node": "chatbot", "version": 1}
{"pattern": [["a"], ["b", "c"]], "frequency": 2, "emotives": [...], "metadata": {...}}
{"symbol": "a", "affinity": {"joy": 0.5}}
{"vector": "VCTR|...", "elements": [1.0, 2.0]}
"""

import json
from array import array
from collections.abc import Iterable, Iterator
from typing import Any

from kato_processor.learning import StoredPattern
from kato_processor.naming import bare, pattern_name
from kato_processor.storage import Storage

VERSION = 1
Json = dict[str, Any]


class InvalidExport(ValueError):
    """Text that is not the export of a node; the message names the line."""


def exported(storage: Storage) -> Iterator[str]:
    """The lines of everything the node knows."""
    yield json.dumps({"kato_node": storage.state()["node_id"], "version": VERSION})
    for pattern in storage.patterns():
        yield json.dumps(
            {
                "pattern": pattern.events,
                "frequency": pattern.frequency,
                "emotives": pattern.emotives,
                "metadata": pattern.metadata,
            },
            ensure_ascii=False,
        )
    for symbol, totals in storage.affinities().items():
        yield json.dumps({"symbol": symbol, "affinity": totals}, ensure_ascii=False)
    for _, name, elements in storage.vectors_after(0):
        yield json.dumps({"vector": name, "elements": array("d", elements).tolist()})


def node_of(first_line: str) -> str:
    """The node an export came from; raises InvalidExport."""
    header = _parsed(1, first_line)
    if not isinstance(header.get("kato_node"), str) or header.get("version") != VERSION:
        raise InvalidExport(f"line 1: not the export of a node in version {VERSION}")
    return str(header["kato_node"])


def imported(storage: Storage, lines: Iterable[str]) -> int:
    """Add the lines after the first to a node, all or nothing; how many patterns.

    What the node knows already is united with what comes. Raises InvalidExport.
    """
    patterns = 0
    with storage.writing():
        for number, line in enumerate(lines, 2):
            document = _parsed(number, line)
            try:
                patterns += _put(storage, document)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise InvalidExport(f"line {number}: {error!r}") from error
    return patterns


def _put(storage: Storage, document: Json) -> bool:
    if "pattern" in document:
        events = [[str(symbol) for symbol in event] for event in document["pattern"]]
        storage.put(
            StoredPattern(
                name=bare(pattern_name(events)),
                events=events,
                frequency=int(document["frequency"]),
                emotives=document.get("emotives", []),
                metadata=document.get("metadata", {}),
            )
        )
        return True
    if "symbol" in document:
        storage.put_affinity(document["symbol"], document["affinity"])
    else:
        storage.put_vectors([(document["vector"], document["elements"])])
    return False


def _parsed(number: int, line: str) -> Json:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise InvalidExport(f"line {number}: {error}") from error
    if not isinstance(document, dict):
        raise InvalidExport(f"line {number}: not an object")
    return document
