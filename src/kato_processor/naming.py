"""Names derived from content: patterns, nodes and their files."""

import hashlib
import re
from string import ascii_lowercase, digits

from kato_processor.matching import Events

PATTERN_PREFIX = "PTRN|"
MIN_SYMBOLS = 2
DEFAULT_NODE = "default_node"
_LONGEST_KNOWLEDGE_BASE_ID = 60
_LONGEST_FILE_STEM = 120
_SAFE_IN_FILES = frozenset(ascii_lowercase + digits + "_-")
_UNSAFE_IN_IDS = re.compile(r'[/\\."$*<>:|? -]')


def pattern_hash(events: Events) -> str:
    """SHA-1 of the Python text of the list of lists, without the prefix.

    Source: KATO contract 2.3; `[['a'], ['b', 'c'], ['d']]` gives `fd51401f...`.
    """
    return hashlib.sha1(str(events).encode(), usedforsecurity=False).hexdigest()


def pattern_name(events: Events) -> str:
    """The name learning gives; empty for fewer than two symbols, which are not kept."""
    if sum(map(len, events)) < MIN_SYMBOLS:
        return ""
    return PATTERN_PREFIX + pattern_hash(events)


def bare(pattern_id: str) -> str:
    """The hash of a pattern id given with or without its prefix."""
    return pattern_id.removeprefix(PATTERN_PREFIX)


def knowledge_base_id(node_id: str, service_name: str) -> str:
    """The id that node-scoped answers show; several nodes may share it, storage never does.

    Source: KATO contract 2.9.
    """
    base = service_name.replace("-", "_")
    node = _UNSAFE_IN_IDS.sub("_", node_id)
    if len(node) + 1 + len(base) <= _LONGEST_KNOWLEDGE_BASE_ID:
        return f"{node}_{base}"
    digest = hashlib.md5(node.encode(), usedforsecurity=False).hexdigest()[:8]
    kept = _LONGEST_KNOWLEDGE_BASE_ID - len(base) - 10
    return f"{node[: max(kept, 0)]}_{digest}_{base}"


def node_file(node_id: str) -> str:
    """File name of a node's long-term memory: different nodes never share one.

    Characters outside `[a-z0-9_-]` are percent-encoded, capitals too, because some file
    systems ignore case. A name beyond the file system's limit ends in a digest instead.
    """
    safe = "".join(map(_encoded, node_id))
    if len(safe) > _LONGEST_FILE_STEM:
        safe = f"{safe[:40]}%%{hashlib.sha256(node_id.encode()).hexdigest()}"
    return f"node_{safe}_kato.db"


def _encoded(character: str) -> str:
    if character in _SAFE_IN_FILES:
        return character
    return "".join(f"%{byte:02X}" for byte in character.encode())
