"""What an instance may be called, and the names derived from it."""

import fnmatch
import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable

from kato_manager.errors import ConfigError

RESERVED_IDS = frozenset(
    "api ui metrics health status docs openapi.json sessions query users chat events"
    " experiments".split()
)
MAX_ID_LENGTH = 63
MAX_CONTAINER_NAME_LENGTH = len("kato-") + MAX_ID_LENGTH

_CONTROL = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, surrogates, line and paragraph ends
_CLEAN = re.compile(r"[A-Za-z0-9_-]")


def check_id(instance_id: str) -> str:
    """Return the id as typed, or raise `ConfigError` saying which rule it breaks."""
    if problem := id_problem(instance_id):
        raise ConfigError(
            f"id {instance_id!r} {problem}",
            hint="use letters, digits, '-' and '_', for example --id sentiment-analyzer",
        )
    return instance_id


def id_problem(instance_id: str) -> str:
    """What is wrong with an id, as the end of a sentence; empty when it may be used."""
    if not instance_id:
        return "is empty"
    if len(instance_id) > MAX_ID_LENGTH:
        return f"has {len(instance_id)} characters, at most {MAX_ID_LENGTH} are allowed"
    if instance_id[0] in ".-":
        return f"may not start with {instance_id[0]!r}"
    if "/" in instance_id:
        return "may not contain '/'"
    if any(unicodedata.category(character) in _CONTROL for character in instance_id):
        return "contains a control character"
    if instance_id.strip() != instance_id:
        return "may not start or end with a space"
    if instance_id.casefold() in RESERVED_IDS:
        return "is reserved for the gateway's own paths"
    return ""


def container_name(instance_id: str) -> str:
    """`kato-<id>` for a clean id; other bytes are escaped as `.xx`, so no two ids share a name.

    A longer name than any clean id gives keeps its head and ends in `..` and 16 hex digits of the
    id's SHA-256; `..` never occurs in an escape, and `.` never in a clean id.
    """
    escaped = "".join(
        character
        if _CLEAN.fullmatch(character)
        else "".join(f".{byte:02x}" for byte in character.encode())
        for character in instance_id
    )
    name = f"kato-{escaped}"
    if len(name) <= MAX_CONTAINER_NAME_LENGTH:
        return name
    digest = hashlib.sha256(instance_id.encode()).hexdigest()[:16]
    head = name[: MAX_CONTAINER_NAME_LENGTH - len(digest) - 2]
    return f"{head.rstrip('.')}..{digest}"


def automatic_id(epoch_s: int, pid: int, taken: Collection[str]) -> str:
    """`kato-<epoch>-<pid>`, with `-2`, `-3` ... when that is taken."""
    base = f"kato-{epoch_s}-{pid}"
    names = (base if number == 1 else f"{base}-{number}" for number in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def same_when_folded(instance_id: str, others: Iterable[str]) -> str | None:
    """The other id that differs from this one only in case, if there is one."""
    return folded_twin(instance_id, (one for one in others if one != instance_id))


def folded_twin(name: str, others: Iterable[str]) -> str | None:
    """The one that is the same when case is ignored, if there is one."""
    folded = name.casefold()
    return next((one for one in others if one.casefold() == folded), None)


def is_pattern(text: str) -> bool:
    return any(character in text for character in "*?[")


def matching(pattern: str, ids: Iterable[str]) -> list[str]:
    """The ids that a shell-style glob selects, in the order given; case matters."""
    return [one for one in ids if fnmatch.fnmatchcase(one, pattern)]


def closest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate the user probably meant."""
    import difflib

    found = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.6)
    return found[0] if found else None
