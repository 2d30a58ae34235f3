"""Which instances speak the session API, and which of them somebody gets."""

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence

from kato_manager.gateway.balance import rendezvous
from kato_manager.gateway.problems import Problem
from kato_manager.gateway.routes import Route, unavailable
from kato_manager.model import Instance, Status
from kato_manager.registry import Registry

LABEL = "kato.sessions"  # "yes" or "no", where the template's name does not tell
Wake = Callable[[str], Awaitable[Instance]]


def speaks_sessions(instance: Instance) -> bool:
    """By its label, else by its template: `kato` and what is called `kato-...`."""
    said = instance.spec.labels.get(LABEL, "").lower()
    template = instance.spec.template
    return said == "yes" or (said != "no" and (template == "kato" or template.startswith("kato-")))


class Instances:
    """The recorded ones, as the registry is now, for one `stat` a look."""

    def __init__(self, registry: Registry, wake: Wake) -> None:
        self._registry = registry
        self._wake = wake
        self._path = os.fspath(registry.path)
        self._seen: tuple[int, int, int] | None = (0, 0, 0)
        self._recorded: Mapping[str, Instance] = {}

    @property
    def recorded(self) -> Mapping[str, Instance]:
        try:
            stat = os.stat(self._path)  # noqa: PTH116 - half the time of Path.stat, per request
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        except FileNotFoundError:
            seen = None
        if seen != self._seen:
            self._recorded = self._registry.read()
            self._seen = seen
        return self._recorded

    def check(self, instance_id: str) -> None:
        """Raises `Problem` if it is gone or takes no requests now."""
        instance = self.recorded.get(instance_id)
        if instance is None:
            raise _bound_to_nothing(instance_id)
        if instance.status is not Status.RUNNING:
            raise unavailable(_route(instance))

    async def ready(self, instance_id: str) -> Instance:
        """The instance as one that takes requests, started if it starts on demand.

        Raises `Problem`: it is gone, or does not run and is not started by requests.
        """
        instance = self.recorded.get(instance_id)
        is_asleep = instance is not None and instance.status is not Status.RUNNING
        if instance and is_asleep and instance.spec.start == "on-demand":
            return await self._wake(instance_id)
        self.check(instance_id)
        return self.recorded[instance_id]

    def choose(self, owner: str, agent_type: str | None = None) -> str:
        """The id of the instance for an owner that is bound to none: running ones come first.

        `agent_type` may name an instance, a group or a template; any other word is as none.
        Raises `Problem` when nothing could serve.
        """
        able = [one for one in self.recorded.values() if speaks_sessions(one)]
        running = [one for one in able if one.status is Status.RUNNING]
        wakeable = [one for one in able if one.spec.start == "on-demand"]
        for candidates in (running, wakeable):
            named = _named(agent_type, candidates) or candidates
            if named:
                return rendezvous(owner.encode(), [_route(one) for one in named])[0].id
        raise _none_runs(able)

    def named(self, agent_type: str | None) -> bool:
        """Whether the word names something that speaks sessions."""
        able = [one for one in self.recorded.values() if speaks_sessions(one)]
        return bool(_named(agent_type, able))


def _named(agent_type: str | None, candidates: Sequence[Instance]) -> list[Instance]:
    if not agent_type:
        return []
    return (
        [one for one in candidates if one.id == agent_type]
        or [one for one in candidates if one.spec.group == agent_type]
        or [one for one in candidates if one.spec.template == agent_type]
    )


def _route(instance: Instance) -> Route:
    return Route(
        id=instance.id,
        port=instance.port,
        prefix=b"",
        status=instance.status,
        reason=instance.reason,
    )


def _none_runs(able: Sequence[Instance]) -> Problem:
    known = ", ".join(one.id for one in able)
    return Problem(
        status=503,
        code="no_instance",
        detail=f"no instance that speaks sessions runs{f' ({known} do not)' if known else ''}",
        hint=f"kato start --id {able[0].id if able else 'my-processor'}",
        retry_after_s=5,
    )


def _bound_to_nothing(instance_id: str) -> Problem:
    return Problem(
        status=503,
        code="instance_not_running",
        detail=f"the memory asked for is bound to instance {instance_id!r}, which is stopped",
        hint=f"kato start --id {instance_id}, or kato sessions bind NODE INSTANCE",
        retry_after_s=30,
        members={"instance": instance_id},
    )
