"""Restarts local instances that ended by themselves, and gives up those that keep crashing."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from kato_manager import recovery
from kato_manager.errors import InstanceNotFound, KatoError
from kato_manager.gateway.restarts import Policy, Trouble, wants_restart
from kato_manager.manager import Manager
from kato_manager.model import Instance
from kato_manager.runtimes.base import Observed

_LOG_LINES = 15

Told = Callable[[str, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """An instance as recorded when we last dealt with it, and how it came to that."""

    instance: Instance
    trouble: Trouble
    how: str = ""


class Crashes:
    """What crashed and when it is due. `on_exit` hears the id of each that ended, and how.

    All methods belong to the event loop's thread.
    """

    def __init__(self, manager: Manager, policy: Policy, *, on_exit: Told) -> None:
        self._manager = manager
        self._policy = policy
        self._on_exit = on_exit
        self._cases: dict[str, _Case] = {}

    async def look(
        self, instances: Mapping[str, Instance], running: Iterable[Instance], now_s: float
    ) -> None:
        """Find new crashes among the `running`; forget cases that somebody else has dealt with."""
        for one, case in list(self._cases.items()):
            if one not in instances or instances[one].updated_at != case.instance.updated_at:
                del self._cases[one]
        for instance, observed in await asyncio.to_thread(self._dead, list(running)):
            self._found(instance, observed, now_s)

    def due(self, now_s: float) -> Iterator[str]:
        """Ids to be dealt with now: restarted, or given up."""
        for one, case in self._cases.items():
            due_s = case.trouble.due_s
            if case.how and (due_s is None or due_s <= now_s):
                yield one

    async def settle(self, instance_id: str, clock: Callable[[], float]) -> None:
        """Restart it, or record that this does not happen."""
        case = self._cases[instance_id]
        if case.trouble.due_s is None:
            final = self._give_up if case.trouble.crashes else self._lay_down
            await asyncio.to_thread(final, case)
            return
        try:
            await asyncio.to_thread(self._manager.restart, instance_id)
        except InstanceNotFound:
            self._cases.pop(instance_id, None)
        except KatoError as error:
            self._keep(instance_id, self._policy.crashed(case.trouble, clock()), f"last: {error}")
        else:
            self._keep(instance_id, self._policy.started(case.trouble, clock()), "")

    def _dead(self, running: list[Instance]) -> list[tuple[Instance, Observed]]:
        """Local ones only: an engine restarts its own."""
        local = self._manager.runtimes["local"]
        seen = [
            (one, local.inspect(one.handle))
            for one in running
            if one.runtime == "local" and one.handle
        ]
        return [(one, observed) for one, observed in seen if observed.state != "running"]

    def _found(self, instance: Instance, observed: Observed, now_s: float) -> None:
        known = self._cases.get(instance.id)
        if known and (known.how or known.trouble.due_s is None):
            return  # it is known already
        code = "" if observed.exit_code is None else f" with exit code {observed.exit_code}"
        self._on_exit(instance.id, f"ended{code}")
        if wants_restart(instance.spec, observed.exit_code):
            trouble = self._policy.crashed(known.trouble if known else None, now_s)
            self._cases[instance.id] = _Case(
                instance=instance, trouble=trouble, how=f"the last time it ended{code}"
            )
        else:
            # The next request starts it again; what nobody asked to restart just stays dead.
            how = f"ended{code}" if instance.spec.start == "on-demand" else ""
            self._cases[instance.id] = _Case(
                instance=instance, trouble=Trouble(due_s=None), how=how
            )

    def _keep(self, instance_id: str, trouble: Trouble, how: str) -> None:
        """The case as it is recorded after we have changed the instance."""
        recorded = self._manager.registry.read().get(instance_id)
        if recorded:
            self._cases[instance_id] = _Case(instance=recorded, trouble=trouble, how=how)

    def _give_up(self, case: _Case) -> None:
        reason = f"crashed {case.trouble.crashes} times in a row; {case.how}"
        if "\n" not in reason:
            lines = self._manager.logs(case.instance.id, tail=_LOG_LINES, follow=False)
            reason += "".join(f"\n  | {line}" for line in lines)
        recovery.give_up(self._manager.registry, case.instance, reason)

    def _lay_down(self, case: _Case) -> None:
        self._manager.stop(case.instance.id, keep=f"{case.how}; starts on demand")
