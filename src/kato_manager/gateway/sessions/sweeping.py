"""The janitor's timer, and what it leaves for `kato sessions stats` to warn about."""

import asyncio
import json
import random
from pathlib import Path
from typing import Any

from kato_manager.files import write_atomically
from kato_manager.gateway.keeper import say
from kato_sessions.errors import SessionError
from kato_sessions.janitor import Janitor, Swept
from kato_sessions.model import now_ms

FILE = "sweep.json"
FIRST_PAUSE_S = 60.0  # soon: a gateway that is restarted every day has to clean up too
_JITTER = 0.1  # of the interval: several gateways of one store do not all begin at once


class Sweeper:
    """Sweeps now and then; the store's lease lets one of several work."""

    def __init__(self, janitor: Janitor, home: Path) -> None:
        self._janitor = janitor
        self._path = home / "gateway" / FILE

    async def forever(self) -> None:
        interval_s = self._janitor.store.profile.cleanup_interval_ms / 1000
        pause_s = min(interval_s, FIRST_PAUSE_S)
        while True:
            await asyncio.sleep(pause_s * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311
            pause_s = interval_s
            try:
                await asyncio.to_thread(self.sweep)
            except (SessionError, OSError) as error:
                say(f"sessions: cleanup failed: {error}")

    def sweep(self, *, dry_run: bool = False) -> Swept:
        """Sweep now; a failure is written down, and raised."""
        try:
            swept = self._janitor.sweep(dry_run=dry_run)
        except (SessionError, OSError) as error:
            self._tell(error=str(error))
            raise
        if not dry_run:
            self._tell(ended=swept.total)
        return swept

    def _tell(self, **how: Any) -> None:
        write_atomically(self._path, json.dumps({"at": now_ms(), **how}) + "\n", durable=False)


def last_failure(home: Path) -> str:
    """What went wrong in the last sweep; empty when nothing did."""
    try:
        told = json.loads((home / "gateway" / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(told.get("error", ""))
