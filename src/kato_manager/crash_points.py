"""Moments at which a test may kill us, to prove that the next command repairs.

`KATO_CRASH_POINT=start.reserved kato start ...` ends that command as SIGKILL would; otherwise a
no-op. The variable is read here and not in `settings`, since no value of ours depends on it.
"""

import os
import signal

NAMES = (
    "start.reserved",
    "start.launched",
    "start.ready",
    "stop.marked",
    "stop.ended",
    "restart.marked",
    "restart.ended",
    "restart.reserved",
    "restart.launched",
    "restart.ready",
    "replace.marked",
    "replace.launched",
    "replace.recorded",
    "replace.ended",
)

_CRASH_AT = os.environ.get("KATO_CRASH_POINT")


def crash_point(name: str) -> None:
    if name == _CRASH_AT:
        os.kill(os.getpid(), signal.SIGKILL)
