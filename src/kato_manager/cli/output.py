"""How answers look: data on stdout, talk on stderr, colour only as an addition."""

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from kato_manager.errors import ConfigError, KatoError

JSON_VERSION = 1
_NARROWEST = 8
_COLOURS = {
    "running": "32",
    "starting": "33",
    "stopping": "33",
    "stopped": "2",
    "exited": "31",
    "failed": "31",
    "missing": "31",
    "unreachable": "31",
}


def data(text: str, *, at_once: bool = False) -> None:
    """A line of the answer; ends the command, well, when its reader has gone."""
    try:
        print(text, flush=at_once)  # noqa: T201 - this is where output happens
    except BrokenPipeError:
        # What is still buffered has nowhere to go, and must not show as a traceback at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def talk(text: str) -> None:
    """A line about what happens, for people."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def document(name: str, values: Any) -> None:
    """The answer as versioned JSON: `{"version": 1, "<name>": ...}`."""
    data(json.dumps({"version": JSON_VERSION, name: values}, indent=2, ensure_ascii=False))


def lines(values: Iterable[Any]) -> None:
    """A stream of JSON, an object a line, each visible at once."""
    for value in values:
        data(json.dumps(value, ensure_ascii=False), at_once=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, wide: bool = False) -> None:
    """Aligned columns; on a terminal the longest texts are shortened to its width, if need be."""
    cells = [list(columns), *(list(row) for row in rows)]
    widths = [max(_width(row[index]) for row in cells) for index in range(len(columns))]
    if sys.stdout.isatty() and not wide:
        widths = _fitted(widths, shutil.get_terminal_size().columns)
    for row in cells:
        padded = (_cell(text, width) for text, width in zip(row, widths, strict=True))
        data("  ".join(padded).rstrip())


def error(problem: KatoError) -> None:
    """The message, every further problem, and what to type next."""
    problems = problem.problems if isinstance(problem, ConfigError) else (problem.message,)
    for line in problems:
        talk(f"{painted('error:', '31;1', sys.stderr)} {line}")
    if problem.hint:
        talk(f"{painted('hint:', '36', sys.stderr)} {problem.hint}")


@contextmanager
def progress(text: str) -> Iterator[None]:
    """A spinner with the time on a terminal, for work that may last; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        shown.add_task(text, total=None)
        yield


def confirmed(question: str) -> bool:
    """Ask on the terminal; Enter is no."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def agree(question: str) -> None:
    """Go on if the user says yes; otherwise end with code 1, nothing changed."""
    if not confirmed(question):
        talk("nothing was changed")
        raise typer.Exit(1)


def interactive() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def painted(text: str, colour: str, stream: Any = sys.stdout) -> str:
    if "NO_COLOR" in os.environ or not stream.isatty():
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


def _cell(text: str, width: int) -> str:
    shown = text if _width(text) <= width else _cut(text, width - 1) + "…"
    padding = " " * (width - _width(shown))
    return (painted(shown, _COLOURS[text]) if text in _COLOURS else shown) + padding


def _width(text: str) -> int:
    """The columns a terminal needs: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(one) in {"W", "F"} for one in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def _cut(text: str, width: int) -> str:
    while _width(text) > width:
        text = text[:-1]
    return text


def _fitted(widths: list[int], available: int) -> list[int]:
    """Take from the widest column until the table fits."""
    widths = list(widths)
    while sum(widths) + 2 * (len(widths) - 1) > available and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
    return widths


def shown(values: Mapping[str, Any]) -> str:
    """Settings as `key=value` words."""
    return " ".join(f"{key}={value}" for key, value in values.items())
