"""Active health: asks every running instance how it is, and publishes who is not well.

`$KATO_HOME/gateway/unhealthy.json` holds `{"<id>": "<what is wrong>"}`. It is replaced whole, and
only when it changes: a reader needs one `stat` a look.
"""

import asyncio
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from kato_manager import readiness
from kato_manager.files import write_atomically
from kato_manager.model import Instance

FAILURES_TO_TELL = 2  # one missed answer may be a long garbage collection
ATTEMPT_S = 2.0
PARALLEL = 8

Probe = Callable[[Instance], str]


def path(home: Path) -> Path:
    return home / "gateway" / "unhealthy.json"


class Unhealthy:
    """Ids of those that are not well, as last published; for one `stat` a look."""

    def __init__(self, home: Path) -> None:
        self._path = os.fspath(path(home))
        self._seen: tuple[int, int] | None = None
        self._ids: frozenset[str] = frozenset()

    @property
    def ids(self) -> frozenset[str]:
        try:
            stat = os.stat(self._path)  # noqa: PTH116 - half the time of Path.stat, per request
        except FileNotFoundError:
            self._seen, self._ids = None, frozenset()
            return self._ids
        seen = (stat.st_mtime_ns, stat.st_ino)
        if seen != self._seen:
            self._ids = frozenset(json.loads(Path(self._path).read_bytes()))
            self._seen = seen
        return self._ids


def probe(instance: Instance) -> str:
    return readiness.probe(instance, ATTEMPT_S)


class Health:
    """Counts failed checks in a row; `on_change` is told when an instance becomes ill or well."""

    def __init__(
        self,
        home: Path,
        *,
        on_change: Callable[[str, str], None],
        probe: Probe = probe,
    ) -> None:
        self._path = path(home)
        self._on_change = on_change
        self._probe = probe
        self._failures: dict[str, int] = {}
        self._slots = asyncio.Semaphore(PARALLEL)
        self.problems: dict[str, str] = {}
        self._publish()

    async def check(self, instances: Iterable[Instance]) -> None:
        """Ask all of them side by side; those not named are forgotten."""
        asked = list(instances)
        answers = await asyncio.gather(*map(self._ask, asked))
        self.note(dict(zip([one.id for one in asked], answers, strict=True)))

    async def _ask(self, instance: Instance) -> str:
        async with self._slots:
            return await asyncio.to_thread(self._probe, instance)

    def note(self, results: Mapping[str, str]) -> None:
        """Take the results of one round: id -> what is wrong, empty for well."""
        before = dict(self.problems)
        self._failures = {
            one: self._failures.get(one, 0) + 1 for one, problem in results.items() if problem
        }
        self.problems = {
            one: results[one]
            for one, failures in self._failures.items()
            if failures >= FAILURES_TO_TELL
        }
        if before.keys() != self.problems.keys():
            self._publish()
        for one in before.keys() ^ self.problems.keys():
            self._on_change(one, self.problems.get(one, ""))

    def _publish(self) -> None:
        write_atomically(self._path, json.dumps(self.problems) + "\n", durable=False)
