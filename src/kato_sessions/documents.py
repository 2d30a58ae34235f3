"""Files of the file store: names, documents and their journals, written whole or not at all."""

import base64
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kato_sessions.errors import RecordCorrupt
from kato_sessions.model import Item, Session, dumps

_SAFE = re.compile(r"(?!b32-)[a-z0-9_][a-z0-9_-]*")
_HEAD = '{"session":'
_BLOCK = 1 << 16


def file_name(session_id: str) -> str:
    """The id as a file name: no path, no two ids alike even where case is ignored."""
    if _SAFE.fullmatch(session_id):
        return session_id
    encoded = base64.b32encode(session_id.encode()).decode()
    return f"b32-{encoded.rstrip('=').lower()}"


def id_of(name: str) -> str:
    """The id that a file name stands for."""
    if not name.startswith("b32-"):
        return name
    encoded = name.removeprefix("b32-").upper()
    return base64.b32decode(encoded + "=" * (-len(encoded) % 8)).decode()


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file as a whole, 0600, on the disk before anybody can see it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def document_of(session: Session, items: Iterable[Item]) -> bytes:
    """The session first, so that it can be read without the items."""
    listed = ",".join(dumps(item.to_json()) for item in items)
    return f'{_HEAD}{dumps(session.to_json())},"items":[{listed}]}}\n'.encode()


def document_head(path: Path) -> Any:
    with path.open("rb") as file:
        block = file.read(_BLOCK).decode(errors="ignore")
    if block.startswith(_HEAD):
        try:
            return json.JSONDecoder().raw_decode(block, len(_HEAD))[0]
        except ValueError:
            pass  # longer than a block, or written by another hand: read it whole
    return json.loads(path.read_bytes())["session"]


def items_of(document: Mapping[str, Any]) -> list[Item]:
    return [Item.from_json(item) for item in document.get("items", ())]


def journal_lines(path: Path) -> Iterator[Any]:
    if not path.exists():
        return
    for line in path.read_bytes().split(b"\n")[:-1]:  # what follows the last newline is torn
        yield json.loads(line)


def last_line(path: Path) -> bytes | None:
    """The last whole line, found from the end."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        reach = 0
        while reach < size:
            reach = min(size, max(_BLOCK, reach * 4))
            file.seek(size - reach)
            whole = file.read(reach).rpartition(b"\n")[0]
            _, newline, line = whole.rpartition(b"\n")
            if newline or reach == size:
                return line or None
    return None


def append_line(path: Path, text: str) -> int:
    """Add a line after the last whole one and give the new size."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(handle, "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                file.seek(0)
                end = file.read().rfind(b"\n") + 1
                file.truncate(end)
        file.seek(end)
        file.write(text.encode() + b"\n")
        file.flush()
        return file.tell()


def what_is_broken(path: Path) -> str | None:
    try:
        document = json.loads(path.read_bytes())
        Session.from_json(document["session"])
        items_of(document)
        for line in journal_lines(path.with_suffix(".jsonl")):
            Session.from_json(line["session"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def newest_of(path: Path) -> Session:
    """The newest record of a session, without reading its items; raises RecordCorrupt."""
    line = last_line(path.with_suffix(".jsonl"))
    try:
        head = json.loads(line)["session"] if line else document_head(path)
        return Session.from_json(head)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unreadable(path, error) from error


def history_of(path: Path) -> list[Item]:
    """The items of a document and of what its journal adds; raises RecordCorrupt."""
    try:
        items = items_of(json.loads(path.read_bytes()))
        last = items[-1].seq if items else 0
        keep = None
        for line in journal_lines(path.with_suffix(".jsonl")):
            items += [item for item in items_of(line) if item.seq > last]
            keep = line.get("keep", keep)
    except (ValueError, TypeError, AttributeError) as error:
        raise _unreadable(path, error) from error
    return items[-keep:] if keep else items


def _unreadable(path: Path, error: Exception) -> RecordCorrupt:
    return RecordCorrupt(f"{path} cannot be read: {error}", hint="kato sessions doctor --fix")
