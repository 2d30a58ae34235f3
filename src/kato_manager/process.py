"""Who a process is: a pid alone is reused, and means nothing after a reboot."""

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

_PROC = Path("/proc")
_DEAD = frozenset("ZX")


def identity(pid: int) -> str | None:
    """Start time in ticks and boot id of a living process; None when there is none.

    Equal identities of one pid are the same process (proc(5), fields 3 and 22 of `stat`).
    """
    stat = _stat(pid)
    return f"{stat[19]}@{_boot_id()}" if stat else None


def is_alive(pid: int, started: str) -> bool:
    """Whether this very process lives, not another one with its pid."""
    return identity(pid) == started


def own_identity() -> str:
    return identity(os.getpid()) or ""


def marked(mark: str) -> list[int]:
    """The living processes that inherited the environment entry `mark` ("NAME=value").

    It finds those too that left their group or session, as far as we may read their environment.
    """
    return [pid for pid in _pids() if _has_mark(pid, mark.encode())]


def session(leader: int, started: str) -> list[int]:
    """The living processes of the session that this very leader founded, itself included.

    A pid is not given away while a session bears it. A session without its leader is told all the
    same, though it may be another one's: of a later leader of that pid, which has died as well.
    """
    if not started.endswith(f"@{_boot_id()}") or identity(leader) not in {started, None}:
        return []
    return [pid for pid in _pids() if (stat := _stat(pid)) and stat[3] == str(leader)]


def leads_session(pid: int) -> bool:
    stat = _stat(pid)
    return bool(stat) and stat[3] == str(pid)


def _stat(pid: int) -> list[str]:
    """The fields after the command (state is the first) of a living process, else none."""
    with suppress(OSError):
        # The command may contain spaces and brackets; the last bracket ends it.
        stat = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return [] if stat[0] in _DEAD else stat
    return []


def _has_mark(pid: int, mark: bytes) -> bool:
    with suppress(OSError):
        environment = (_PROC / str(pid) / "environ").read_bytes()
        return mark in environment.split(b"\0") and identity(pid) is not None
    return False


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())


@cache
def _boot_id() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
