"""What happens to instances: what engines report, and what the registry and /proc show."""

import queue
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from kato_manager import liveness
from kato_manager.errors import RuntimeUnavailable
from kato_manager.manager import Manager
from kato_manager.model import Instance
from kato_manager.runtimes.base import Event, Events

POLL_S = 0.25
_KINDS = {"running": "started", "exited": "died"}


def follow(manager: Manager, *, poll_s: float = POLL_S) -> Iterator[Event]:
    """Events as they happen, without end; the present state is not repeated as events.

    Local instances are looked at every `poll_s`, engines report by themselves.
    """
    happened: queue.SimpleQueue[Event] = queue.SimpleQueue()
    for name in manager.runtimes.present:
        runtime = manager.runtimes[name]
        if isinstance(runtime, Events):
            threading.Thread(target=_pump, args=(runtime, happened), daemon=True).start()
    before = _states(manager)
    while True:
        try:
            yield happened.get(timeout=poll_s)
        except queue.Empty:
            now = _states(manager)
            yield from _changes(before, now)
            before = now


def _pump(runtime: Events, happened: "queue.SimpleQueue[Event]") -> None:
    try:
        for event in runtime.events(since=None):
            happened.put(event)
    except RuntimeUnavailable as problem:
        happened.put(
            Event(at=datetime.now(UTC), instance_id="", kind="unreachable", detail=str(problem))
        )


def _states(manager: Manager) -> dict[str, str]:
    local = {one: i for one, i in manager.registry.read().items() if _is_local(i)}
    return liveness.words(local)


def _is_local(instance: Instance) -> bool:
    return instance.runtime == "local"


def _changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Event]:
    at = datetime.now(UTC)
    for one in sorted({*before, *now}):
        was, word = before.get(one), now.get(one)
        if word != was:
            kind = "stopped" if word is None else _KINDS.get(word, word)
            yield Event(at=at, instance_id=one, kind=kind)
