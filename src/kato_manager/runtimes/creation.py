"""Makes containers: each with its network, volume and image, and only under a name that is free."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from kato_manager.errors import Conflict, ImageNotFound, StartFailed
from kato_manager.model import Instance, InstanceSpec
from kato_manager.runtimes import container, lifecycle
from kato_manager.runtimes.engine import Engine, explanation
from kato_manager.runtimes.ownership import Owner

ProvideImage = Callable[[str, str], None]  # image, pull policy: makes it be there, or raises


@dataclass(frozen=True, slots=True)
class Creation:
    """How containers of one owner come to be on one engine."""

    engine: Engine
    owner: Owner
    network: str
    provide_image: ProvideImage | None

    def already_running(self, instance: Instance) -> str | None:
        """The container that holds the name, if it is this very instance and runs.

        One of ours that does not run makes way; anything else that holds the name is a conflict.
        """
        name = instance.spec.container
        details = self._details(name)
        if details is None:
            return None
        labels = details["Config"]["Labels"] or {}
        self.owner.check(f"container {name}", labels, instance.id)
        if not details["State"]["Running"]:
            lifecycle.remove(self.engine, details["Id"])
            return None
        if not container.serves(labels, instance):
            raise Conflict(
                f"container {name} already runs on port {labels[container.PORT]}, with other"
                " settings than these or unknown to the registry",
                hint=f"kato adopt {instance.id}",
            )
        return str(details["Id"])

    def create(self, instance: Instance, name: str) -> str:
        """Not started yet. Raises `ImageNotFound`, `Conflict` about the name, `StartFailed`."""
        from docker.errors import APIError

        spec = instance.spec
        self.engine.ensure_network(self.network)
        self._claim_volume(spec)
        if spec.pull == "always":
            self._provide(spec)
        labels = self.owner.labels(instance)
        body = container.request(instance, labels=labels, network=self.network)
        try:
            return self._create_with_image(partial(self.engine.create, name, body), spec)
        except APIError as error:
            said = explanation(error)
            if container.is_name_conflict(said):
                raise Conflict(f"container {name} exists already", hint="kato doctor") from error
            raise StartFailed(f"{spec.id} cannot be created: {said}") from error

    def _create_with_image(self, create: Callable[[], str], spec: InstanceSpec) -> str:
        from docker import errors

        try:
            return create()
        except errors.ImageNotFound:
            self._provide(spec)
        return create()

    def _provide(self, spec: InstanceSpec) -> None:
        if self.provide_image is None:
            raise ImageNotFound(
                f"image {spec.launch.image} is not on {self.engine.endpoint}",
                hint=f"kato image pull {spec.launch.image}",
            )
        self.provide_image(spec.launch.image, spec.pull)

    def _claim_volume(self, spec: InstanceSpec) -> None:
        """Make the data volume, or find our own: another registry's is never mounted."""
        if not spec.launch.data_path:
            return
        name = container.volume_name(spec)
        volume = self.engine.api.create_volume(name, labels=self.owner.volume_labels(spec.id))
        self.owner.check(f"volume {name}", volume["Labels"], spec.id)

    def _details(self, name: str) -> Mapping[str, Any] | None:
        from docker.errors import NotFound

        try:
            details: Mapping[str, Any] = self.engine.api.inspect_container(name)
        except NotFound:
            return None
        return details
