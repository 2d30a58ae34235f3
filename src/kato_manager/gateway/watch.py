"""The registry as it is now, and what has changed since the last look."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kato_manager.model import Handle, Instance, Status, timestamp
from kato_manager.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to an instance.

    `kind` is a status it took, or one of: added removed changed exited healthy unhealthy.
    """

    kind: str
    instance: str
    detail: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def document(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "instance": self.instance,
            "detail": self.detail,
            "at": timestamp(self.at),
        }


class Watch:
    """One `stat` a look; the file is read when it was replaced. For one thread at a time."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._seen: tuple[int, int, int] | None = None
        self.instances: Mapping[str, Instance] = {}
        self.starts: dict[str, int] = {}  # since we watch
        self._is_first = True

    def look(self) -> list[Event]:
        """What changed since the last look; the first one only takes note."""
        seen = self._stat()
        if seen == self._seen and not self._is_first:
            return []
        before, read = self.instances, self._registry.read()
        self.instances = {one: read[one] for one in read}
        self._seen = seen
        if self._is_first:
            self._is_first = False
            return []
        events = list(_changes(before, self.instances))
        for event in events:
            if event.kind == Status.RUNNING:
                self.starts[event.instance] = self.starts.get(event.instance, 0) + 1
        return events

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            stat = os.stat(self._registry.path)  # noqa: PTH116 - several times a second
        except FileNotFoundError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _changes(before: Mapping[str, Instance], after: Mapping[str, Instance]) -> Iterator[Event]:
    for one in before.keys() - after.keys():
        yield Event(kind="removed", instance=one)
    for one, instance in after.items():
        old = before.get(one)
        if old is None:
            yield Event(kind="added", instance=one)
        if old is None or _life(old) != _life(instance):
            yield Event(kind=instance.status, instance=one, detail=instance.reason)
        elif old.spec != instance.spec or old.port != instance.port:
            yield Event(kind="changed", instance=one)


def _life(instance: Instance) -> tuple[Status, Handle | None]:
    """Another handle is another life, however quickly it came."""
    is_settled = instance.status is Status.RUNNING
    return instance.status, instance.handle if is_settled else None
