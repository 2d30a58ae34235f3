"""Whose a container or volume is, told by its labels: before anything of it is changed."""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kato_manager.errors import Conflict
from kato_manager.model import Instance
from kato_manager.runtimes import container


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """One registry, known by its id and by its folder on its machine.

    What was made from the same `home` stays its own when the registry's file, and with it the id,
    is lost; so the id is asked for only where the home does not decide.
    """

    registry_id: Callable[[], str]
    home: str

    @classmethod
    def here(cls, registry_id: Callable[[], str], folder: str) -> "Owner":
        return cls(registry_id=registry_id, home=f"{socket.gethostname()}:{folder}")

    def labels(self, instance: Instance) -> dict[str, str]:
        return container.labels(instance, registry_id=self.registry_id(), home=self.home)

    def volume_labels(self, instance: Instance) -> dict[str, str]:
        wanted = (container.REGISTRY, container.HOME, container.ID, container.OPERATION)
        labels = self.labels(instance)
        return {name: labels[name] for name in wanted}

    def has(self, labels: Mapping[str, str]) -> bool:
        return (
            labels.get(container.HOME) == self.home
            or labels.get(container.REGISTRY) == self.registry_id()
        )

    def check(self, what: str, labels: Mapping[str, str] | None, instance_id: str) -> None:
        """Raise `Conflict` unless `what` ("volume kato-a-data") was made for this instance."""
        labels = labels or {}
        if self.has(labels) and labels.get(container.ID) == instance_id:
            return
        holder = labels.get(container.HOME, "somebody without our labels")
        raise Conflict(
            f"{what} is not ours, it was made by {holder}",
            hint="use another id, or remove it with the engine's own command",
        )
