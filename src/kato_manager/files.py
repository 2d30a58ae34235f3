"""Files that are whole at every moment, in folders that are the user's alone."""

import os
from pathlib import Path


def write_atomically(path: Path, text: str, *, durable: bool = True) -> None:
    """Put a new file in place of the old one, on disk before it is visible; call under a lock.

    A full disk raises OSError and leaves the old file as it was.
    """
    path = Path(os.path.realpath(path))  # a link, to a synchronised folder say, stays one
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if not durable:
            # ext4 flushes a file that is renamed over another, and that costs as much as fsync.
            path.unlink(missing_ok=True)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


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
