"""Commands that look after the nodes of a data folder: list, delete, export, import."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kato_processor.environment import ProcessSettings
from kato_processor.naming import node_file
from kato_processor.storage import Storage
from kato_processor.transfer import InvalidExport, exported, imported, node_of

EXIT_USAGE = 2
EXIT_NOT_FOUND = 3
EXIT_CONFLICT = 4
Run = Callable[[argparse.Namespace, ProcessSettings], int]


class Refusal(Exception):
    """Ends a command with an exit code and a message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def add_commands(parser: argparse.ArgumentParser) -> None:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--data-dir", type=Path, default=argparse.SUPPRESS)
    commands = parser.add_subparsers(title="commands")
    nodes = commands.add_parser("nodes", help="list or delete nodes").add_subparsers(
        required=True, metavar="list|delete"
    )
    listing = nodes.add_parser("list", parents=[shared], help="every node with its size")
    listing.add_argument("--format", choices=("table", "json"), default="table")
    listing.set_defaults(run=_answered(_list))
    deleting = nodes.add_parser(
        "delete", parents=[shared], help="delete a node and all it has learned"
    )
    deleting.add_argument("node")
    deleting.add_argument("-y", "--yes", action="store_true", help="do not ask")
    deleting.set_defaults(run=_answered(_delete))
    export = commands.add_parser(
        "export", parents=[shared], help="write a node's knowledge as JSON lines"
    )
    export.add_argument("node")
    export.add_argument("-o", "--output", type=Path, help="default: standard output")
    export.set_defaults(run=_answered(_export))
    importing = commands.add_parser(
        "import", parents=[shared], help="add exported knowledge to a node"
    )
    importing.add_argument("file", type=Path)
    importing.add_argument("--node", help="default: the node it came from")
    importing.set_defaults(run=_answered(_import))


def _answered(run: Run) -> Run:
    def answered(arguments: argparse.Namespace, settings: ProcessSettings) -> int:
        try:
            return run(arguments, settings)
        except Refusal as refusal:
            print(f"kato-processor: {refusal}", file=sys.stderr)  # noqa: T201
            return refusal.code

    return answered


def _say(text: str) -> None:
    print(text)  # noqa: T201 - data goes to standard output


@contextmanager
def _opened(path: Path, node_id: str) -> Iterator[Storage]:
    storage = Storage(path, node_id)
    try:
        yield storage
    finally:
        storage.close()


@contextmanager
def _known(settings: ProcessSettings, node_id: str) -> Iterator[Storage]:
    path = settings.data_dir / node_file(node_id)
    if not path.exists():
        raise Refusal(
            EXIT_NOT_FOUND,
            f"node {node_id!r} has no memory in {settings.data_dir}\n"
            "hint: kato-processor nodes list",
        )
    with _opened(path, node_id) as storage:
        yield storage


def _list(arguments: argparse.Namespace, settings: ProcessSettings) -> int:
    rows = []
    for path in sorted(settings.data_dir.glob("node_*_kato.db")):
        with _opened(path, "") as storage:
            rows.append(
                {
                    "node_id": storage.state()["node_id"],
                    "patterns": storage.pattern_count(),
                    "size_bytes": storage.size_bytes(),
                    "file": str(path),
                }
            )
    if arguments.format == "json":
        _say(json.dumps({"version": 1, "nodes": rows}, indent=2))
        return 0
    _say(f"{'NODE':<32} {'PATTERNS':>10} {'SIZE':>12}  FILE")
    for row in rows:
        size = f"{int(str(row['size_bytes'])) / 1024:.0f} KiB"
        _say(f"{row['node_id']:<32} {row['patterns']:>10} {size:>12}  {row['file']}")
    return 0


def _delete(arguments: argparse.Namespace, settings: ProcessSettings) -> int:
    with _known(settings, arguments.node) as storage:
        if storage.is_shared():
            raise Refusal(
                EXIT_CONFLICT,
                f"node {arguments.node!r} is open in a running processor\nhint: stop it first",
            )
        _confirm(arguments, storage.pattern_count())
    (settings.data_dir / node_file(arguments.node)).unlink()
    _say(f"deleted node {arguments.node}")
    return 0


def _confirm(arguments: argparse.Namespace, patterns: int) -> None:
    if arguments.yes:
        return
    if not sys.stdin.isatty():
        raise Refusal(EXIT_USAGE, "nobody to ask: repeat with --yes")
    answer = input(f"Delete node {arguments.node} and its {patterns} patterns? [y/N] ")
    if answer.strip().lower() not in {"y", "yes"}:
        raise Refusal(1, "nothing deleted")


def _export(arguments: argparse.Namespace, settings: ProcessSettings) -> int:
    with _known(settings, arguments.node) as storage:
        if arguments.output is None:
            for line in exported(storage):
                _say(line)
            return 0
        with arguments.output.open("w", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in exported(storage))
    return 0


def _import(arguments: argparse.Namespace, settings: ProcessSettings) -> int:
    try:
        with arguments.file.open(encoding="utf-8") as lines:
            origin = node_of(next(lines, ""))
            node_id = arguments.node or origin
            settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _opened(settings.data_dir / node_file(node_id), node_id) as storage:
                patterns = imported(storage, lines)
    except OSError as error:
        raise Refusal(EXIT_NOT_FOUND, f"{arguments.file}: {error.strerror}") from error
    except (InvalidExport, UnicodeDecodeError) as error:
        raise Refusal(EXIT_USAGE, f"{arguments.file}: {error}") from error
    _say(f"imported {patterns} patterns into node {node_id}")
    return 0
