"""The secret that allows changes: `$KATO_HOME/gateway/token`, readable by its owner only."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

NAME = "token"


def path(home: Path) -> Path:
    return home / "gateway" / NAME


def ensure(home: Path) -> str:
    """The token of this home, made if there is none; callers at once get the same."""
    if known := read(home):
        return known
    file = path(home)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = file.with_name(f".{NAME}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as new:
        new.write(secrets.token_urlsafe(32) + "\n")
    try:
        file.hardlink_to(temporary)  # whole at once, and never over another one
    except FileExistsError:
        if not read(home):  # an empty one lets nobody in
            temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    return read(home)


def read(home: Path) -> str:
    """The token; empty where there is none that we may read."""
    with suppress(OSError, UnicodeDecodeError):
        return path(home).read_text(encoding="ascii").strip()
    return ""


def is_right(given: str, expected: str) -> bool:
    """Takes the same time however much of it is right."""
    return bool(expected) and secrets.compare_digest(given.encode(), expected.encode())
