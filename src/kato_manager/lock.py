"""A lock between processes that says who holds it.

The lock is the kernel's (flock), so it ends with its holder however that dies. What is written
inside is information only. A file is unlinked by its holder alone, while it holds the lock: who
waited for that file gets a lock without a name, sees that (`st_nlink`) and opens the path again.
"""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kato_manager.errors import RegistryLocked
from kato_manager.model import timestamp

POLL_INTERVAL_S = 0.005
_HOLDER_SIZE = 512


@contextmanager
def held(
    path: Path,
    *,
    what: str,
    timeout_s: float,
    on_wait: Callable[[str], None] | None = None,
    patience_s: float = 1.0,
    give_up: Callable[[], bool] = lambda: False,
    passing: bool = False,
) -> Iterator[None]:
    """Hold the lock at `path`, whose meaning is `what` ("the registry", "instance a").

    Waits up to `timeout_s`, or until `give_up`, then raises `RegistryLocked` naming the holder;
    after `patience_s` of waiting `on_wait` is told the holder once. Threads exclude each other
    like processes do.
    The file of a `passing` lock goes with its end: for things that come and go without number.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, mode=0o600, thread_local=False, fallback_to_soft=False)
    how: Any = {"poll_interval": POLL_INTERVAL_S, "cancel_check": give_up}
    try:
        try:
            lock.acquire(min(patience_s, timeout_s), **how)
        except Timeout:
            if on_wait and timeout_s > patience_s and not give_up():
                on_wait(f"waiting for {what}, held by {holder(path)}")
            lock.acquire(max(0.0, timeout_s - patience_s), **how)
    except Timeout:
        raise RegistryLocked(
            f"{what} is held by {holder(path)}",
            hint="wait for it, or give it longer: --lock-timeout SECONDS",
        ) from None
    try:
        _write_holder(path)
        yield
    finally:
        if passing:
            with suppress(OSError):  # a folder that became read-only: then the file stays
                path.unlink()
        lock.release()


def is_free(path: Path) -> bool:
    """Whether nobody holds the passing lock at this moment."""
    if not path.exists():
        return True
    try:
        with held(path, what="", timeout_s=0, passing=True):
            return True
    except RegistryLocked:
        return False


def holder(path: Path) -> str:
    """Who holds the lock: command, pid and since when, as a phrase."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        who = json.loads(path.read_text())
        return f"{who['command']} (pid {who['pid']}) since {who['since']}"
    return "another process"


def _write_holder(path: Path) -> None:
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]
    who = {"pid": os.getpid(), "command": command, "since": timestamp(datetime.now(UTC))}
    # A full disk or a read-only file must not keep us from what the kernel has granted.
    with suppress(OSError), path.open("r+b") as file:
        # Over the old text, not truncated first: ext4 would flush the file at every close.
        file.write(json.dumps(who).encode().ljust(_HOLDER_SIZE))
