"""Collects every mistake of one reading and shows them like a compiler does."""

from collections.abc import Iterable
from dataclasses import dataclass

from kato_manager.config.node import Node, Place
from kato_manager.errors import ConfigError
from kato_manager.names import closest

SHOWN_PROBLEMS = 50
SHOWN_COLUMNS = 120


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake (or, as a warning, something ignored) at one place."""

    place: Place
    path: str
    message: str

    def __str__(self) -> str:
        parts = (str(self.place), self.path, self.message)
        return ": ".join(part for part in parts if part)

    @property
    def excerpt(self) -> str:
        """The line in question with the column marked; empty where there is no text."""
        lines = self.place.source.lines
        if not 0 < self.place.line <= len(lines):
            return ""
        line = "".join(c if c.isprintable() else " " for c in lines[self.place.line - 1])
        start = max(0, self.place.column - SHOWN_COLUMNS)
        shown = line[start : start + SHOWN_COLUMNS + 40]
        margin = f"{self.place.line:5} | "
        mark = " " * (self.place.column - 1 - start) + "^" * _word_length(
            shown, self.place.column - 1 - start
        )
        return f"{margin}{shown}\n{' ' * (len(margin) - 2)}| {mark}"


def _word_length(line: str, start: int) -> int:
    """How much to mark: up to the end of the word that begins there."""
    rest = line[start:]
    if rest[:1] in {"'", '"'}:
        end = rest.find(rest[0], 1)
        return end + 1 if end > 0 else 1
    length = next((i for i, c in enumerate(rest) if c in " ,:]}#"), len(rest))
    return max(1, length)


class Problems:
    """What is wrong so far. Reading goes on after a mistake, so that all are told at once."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}
        self._warnings: dict[Problem, None] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, node: Node, message: str) -> None:
        """A value that cannot be."""
        self.at(node.place, node.path, message)

    def add_key(self, node: Node, message: str) -> None:
        """A key that cannot be there."""
        self.at(node.key or node.place, node.path, message)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(self._warnings)

    def at(self, place: Place, path: str, message: str) -> None:
        self._found.setdefault(Problem(place, path, message))

    def unknown(self, node: Node, word: str, known: Iterable[str], kind: str = "setting") -> None:
        meant = closest(word, known)
        self.add_key(node, f"unknown {kind}" + (f', did you mean "{meant}"?' if meant else ""))

    def warn(self, node: Node, message: str) -> None:
        self._warnings.setdefault(Problem(node.key or node.place, node.path, message))

    def raise_if_any(self) -> None:
        """Raise one `ConfigError` that holds everything found, in the order of the files."""
        if not self._found:
            return
        found = sorted(self._found, key=lambda one: (one.place.line, one.place.column))
        texts = ["\n".join(filter(None, (str(one), one.excerpt))) for one in found[:SHOWN_PROBLEMS]]
        if len(found) > SHOWN_PROBLEMS:
            texts.append(f"... and {len(found) - SHOWN_PROBLEMS} more")
        raise ConfigError("\n".join(texts), problems=texts)
