"""Files that are whole at every moment, in folders that are the user's alone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(
    path: Path, text: str, *, durable: bool = True, copy: Path | None = None
) -> None:
    """Put a new file in place of the old one, on disk before it is visible; call under a lock.

    `copy` gets the same text. A full disk raises OSError and leaves both files as they were.
    """
    path = Path(os.path.realpath(path))  # a link, to a synchronised folder say, stays one
    with _temporary(path, text, durable=durable) as new:
        if copy is None:
            _put(new, path, durable=durable)
        else:
            # Not forced to disk: it is for a broken file, and a lost machine keeps the other.
            with _temporary(copy, text, durable=False) as twin:
                _put(new, path, durable=durable)
                _put(twin, copy, durable=False)
    if durable:
        _sync_folder(path.parent)


@contextmanager
def _temporary(path: Path, text: str, *, durable: bool) -> Iterator[Path]:
    """A file beside `path` with this text, until it is put in place."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        yield temporary
    except OSError as error:
        error.filename = error.filename or str(path)  # which a full disk does not tell
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _put(new: Path, place: Path, *, durable: bool) -> None:
    if not durable:
        # ext4 flushes a file that is renamed over another, and that costs as much as fsync.
        place.unlink(missing_ok=True)
    new.replace(place)


def make_private(folder: Path) -> None:
    """Make the folder, and those above it that are missing, for this user alone."""
    if not folder.exists():
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)  # with `parents` the upper ones would be open


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
