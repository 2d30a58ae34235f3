"""Makes containers: each with its network, volume and image, and only under a name that is free."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from kato_manager.errors import Conflict, ImageNotFound, StartFailed
from kato_manager.model import Instance, InstanceSpec
from kato_manager.runtimes import container, lifecycle, network
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
        """The container of the instance's name, if it runs and is this very instance.

        Raises `Conflict` when what runs there is anything else.
        """
        name = instance.spec.container
        details = self._details(instance, name)
        if details is None or not details["State"]["Running"]:
            return None
        labels = details["Config"]["Labels"]
        if not container.serves(labels, instance):
            raise Conflict(
                f"container {name} already runs on port {labels[container.PORT]}, with other"
                " settings than these or unknown to the registry",
                hint=f"kato adopt {instance.id}",
            )
        return str(details["Id"])

    @contextmanager
    def made(self, instance: Instance, name: str) -> Iterator[str]:
        """A new container, not started; when the block fails, nothing of it is left.

        Raises `ImageNotFound`, `Conflict` about the name, `StartFailed`.
        """
        with self._volume(instance):
            container_id = self._create(instance, name)
            try:
                yield container_id
            except BaseException:  # Ctrl-C too: a container that never served keeps name and port
                lifecycle.remove(self.engine, container_id)
                raise

    def _create(self, instance: Instance, name: str) -> str:
        from docker.errors import APIError

        spec = instance.spec
        network.ensure(self.engine, self.network)
        if spec.pull == "always":
            self._provide(spec)
        labels = {**self.owner.labels(instance), container.ENDPOINT: self.engine.endpoint}
        body = container.request(instance, labels=labels, network=self.network)
        create = partial(self.engine.create, name, body)
        try:
            return self._create_with_image(create, spec)
        except APIError as error:
            said = explanation(error)
            if not container.is_name_conflict(said):
                raise StartFailed(f"{spec.id} cannot be created: {said}") from error
        self._make_way(instance, name)
        return create()

    def _make_way(self, instance: Instance, name: str) -> None:
        """Remove what holds the name: ours and at rest, a killed command left it."""
        details = self._details(instance, name)
        if details and details["State"]["Running"]:
            raise Conflict(f"container {name} runs already", hint="kato doctor")
        if details:
            lifecycle.remove(self.engine, details["Id"])

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

    @contextmanager
    def _volume(self, instance: Instance) -> Iterator[None]:
        """The data volume, ours and no other's; one made here goes when the block fails."""
        if not instance.spec.launch.data_path:
            yield
            return
        name = container.volume_name(instance.spec)
        labels = self.owner.volume_labels(instance)
        volume = self.engine.api.create_volume(name, labels=labels)
        if volume["Labels"] != labels:
            # It was there before; then a Docker that was restarted leaves labels out of its answer.
            volume = self.engine.api.inspect_volume(name)
        self.owner.check(f"volume {name}", volume["Labels"], instance.id)
        try:
            yield
        except BaseException:
            if volume["Labels"] == labels and instance.operation:
                self.engine.api.remove_volume(name)
            raise

    def _details(self, instance: Instance, name: str) -> Mapping[str, Any] | None:
        """The container of that name, which must be ours if there is one."""
        from docker.errors import NotFound

        try:
            details: Mapping[str, Any] = self.engine.api.inspect_container(name)
        except NotFound:
            return None
        self.owner.check(f"container {name}", details["Config"]["Labels"], instance.id)
        return details
