"""The engine's events about containers of one registry, across lost connections."""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from kato_manager.errors import RuntimeUnavailable
from kato_manager.runtimes import attach, container
from kato_manager.runtimes.base import Event
from kato_manager.runtimes.engine import Engine

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
_KINDS = {
    "start": "started",
    "die": "died",
    "died": "died",  # Podman's word
    "stop": "stopped",
    "oom": "oom",
    "health_status: healthy": "healthy",
    "health_status: unhealthy": "unhealthy",
}


def follow(engine: Engine, registry_id: str, *, since: datetime | None) -> Iterator[Event]:
    """Events as they happen, without end.

    Raises `RuntimeUnavailable` only when the engine does not answer at first. What a restarting
    engine forgets is not repeated: after a gap, compare with `find`.
    """
    engine.check()
    last_ns = _nanoseconds(since or datetime.now(UTC))
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            with engine.answering():
                for item in _stream(engine, registry_id, last_ns):
                    pause_s = FIRST_PAUSE_S
                    if item["timeNano"] <= last_ns:  # `since` includes its moment
                        continue
                    last_ns = item["timeNano"]
                    if event := _event(item):
                        yield event
        except RuntimeUnavailable:
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        time.sleep(pause_s)


def _stream(engine: Engine, registry_id: str, since_ns: int) -> Iterator[Mapping[str, Any]]:
    seconds, nanoseconds = divmod(since_ns, 10**9)
    wanted = {"type": "container", "label": f"{container.REGISTRY}={registry_id}"}
    since: Any = f"{seconds}.{nanoseconds:09d}"  # the SDK's own types know whole seconds only
    stream = engine.api.events(since=since, filters=wanted, decode=True)
    with attach.disconnected_after(stream):
        yield from stream


def _event(item: Mapping[str, Any]) -> Event | None:
    action = item.get("Action") or item["status"]
    attributes = item["Actor"]["Attributes"]
    if action not in _KINDS or container.ID not in attributes:
        return None
    code = attributes.get("exitCode", attributes.get("containerExitCode", ""))
    return Event(
        at=datetime.fromtimestamp(item["timeNano"] / 1e9, UTC),
        instance_id=attributes[container.ID],
        kind=_KINDS[action],
        detail=f"exit code {code}" if _KINDS[action] == "died" and code else "",
    )


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1e6) * 1000
