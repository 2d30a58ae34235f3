"""Runs every instance in a container of its own, on Docker or on Podman's Docker-compatible socket.

A container is known by the engine's id for it, which the handle keeps; its name is for people.
Nothing is stopped or removed before its labels say that it is ours.
"""

import dataclasses
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from datetime import datetime
from functools import partial
from typing import Any

from kato_manager.errors import (
    Conflict,
    ImageNotFound,
    InstanceNotFound,
    RuntimeUnavailable,
    StartFailed,
)
from kato_manager.model import Handle, Instance, InstanceSpec
from kato_manager.runtimes import attach, container, events, lifecycle, usage
from kato_manager.runtimes.base import Event, Found, Observed, Usage
from kato_manager.runtimes.engine import NETWORK, Engine, explanation
from kato_manager.runtimes.ownership import Owner

ProvideImage = Callable[[str, str], None]  # image, pull policy: makes it be there, or raises
Summary = Mapping[str, Any]  # one line of the engine's list


class DockerRuntime:
    """Containers of one registry on one engine; others' are seen by `find` and never changed.

    `provide_image` is asked for an image that is not there, and before every start where the
    policy is `always`.
    """

    name = "docker"

    def __init__(
        self,
        *,
        registry_id: str,
        home: str,
        engine: Engine | None = None,
        network: str = NETWORK,
        provide_image: ProvideImage | None = None,
    ) -> None:
        self.engine = engine or Engine()
        self._owner = Owner.here(registry_id, home)
        self._network = network
        self._provide_image = provide_image

    def check(self) -> None:
        self.engine.check()

    def start(self, instance: Instance, listener: socket.socket) -> Handle:
        with self.engine.answering(), listener:
            container_id = self._already_running(instance)
            if container_id is None:
                container_id = self._create(instance, instance.spec.container)
                with lifecycle.removed_on_failure(self.engine, container_id):
                    listener.close()
                    lifecycle.start(self.engine, container_id, instance)
            return self._handle(container_id, instance.spec, instance.port)

    def stop(self, handle: Handle, *, grace_s: float) -> None:
        with self.engine.answering():
            if self._details(handle) is None:
                return
            lifecycle.stop(self.engine, handle["container"], grace_s=grace_s)
            lifecycle.remove(self.engine, handle["container"])
            lifecycle.wait_until_free(self.engine, handle["port"])

    def replace(
        self,
        old: Handle,
        new: Instance,
        listener: socket.socket | None,
        ready: Callable[[Handle], None],
    ) -> Handle:
        engine, old_id = self.engine, old["container"]
        with engine.answering():
            self._details(old)
            new_id = self._create(new, container.new_name(new.spec))
            handle = self._handle(new_id, new.spec, new.port)
            with (
                lifecycle.started_again_on_failure(engine, old_id),
                lifecycle.removed_on_failure(engine, new_id),
            ):
                if listener:
                    listener.close()
                else:
                    lifecycle.stop(engine, old_id, grace_s=new.spec.grace_s)
                    lifecycle.wait_until_free(engine, old["port"])
                lifecycle.start(engine, new_id, new)
                ready(handle)
            self._take_place(new_id, new.spec, [old_id])
            return handle

    def inspect(self, handle: Handle) -> Observed:
        with self.engine.answering():
            details = self._details(handle)
        if details is None:
            return Observed(state="missing", handle=handle)
        return container.observed(details, handle)

    def logs(self, handle: Handle, *, tail: int | None, follow: bool) -> Iterator[str]:
        with self.engine.answering():
            container_id = self._existing(handle)
            wanted: Any = "all" if tail is None else tail
            chunks = self.engine.api.logs(container_id, stream=True, follow=follow, tail=wanted)
            with closing(chunks):
                yield from attach.lines(chunks)

    def find(self) -> list[Found]:
        """As promised; what our home is marked on bears our registry id, whatever it was then."""
        marks = [container.REGISTRY, container.ID, container.SPEC, container.PORT]
        with self.engine.answering():
            return [self._found(one) for one in self._list(marks)]

    def recover(self, instance: Instance) -> Found | None:
        """As promised; nothing that did not start is left.

        What the operation started takes the place of what was there before; otherwise that serves
        again, if the operation may have stopped it.
        """
        operation = instance.operation
        if operation is None:
            return None
        with self.engine.answering():
            made, before = self._split_by_operation(instance.id, operation.id)
            started = [one["Id"] for one in made if one["State"] != "created"]
            for one in made:
                if one["Id"] not in started:
                    lifecycle.remove(self.engine, one["Id"])
            if started:
                self._take_place(started[0], instance.spec, [one["Id"] for one in before])
            elif before and operation.verb in {"restart", "replace"}:
                self.engine.api.start(before[0]["Id"])
            left = [*started, *(one["Id"] for one in before)]
            by_id = {one["Id"]: one for one in self._list([f"{container.ID}={instance.id}"])}
            return self._found(by_id[left[0]]) if left else None

    def purge(self, instance: Instance) -> None:
        from docker.errors import NotFound

        name = container.volume_name(instance.spec)
        with self.engine.answering(), suppress(NotFound):
            volume = self.engine.api.inspect_volume(name)
            self._owner.check(f"volume {name}", volume["Labels"], instance.id)
            self.engine.api.remove_volume(name)

    def exec(self, handle: Handle, command: tuple[str, ...], *, tty: bool) -> int:
        with self.engine.answering():
            return attach.run(self.engine.api, self._existing(handle), command, tty=tty)

    def stats(self, handle: Handle) -> Usage:
        with self.engine.answering():
            return usage.measure(self.engine.api, self._existing(handle))

    def events(self, *, since: datetime | None) -> Iterator[Event]:
        return events.follow(self.engine, self._owner.registry_id, since=since)

    def _already_running(self, instance: Instance) -> str | None:
        """The container that holds the name, if it is this very instance and runs.

        One of ours that does not run makes way; anything else that holds the name is a conflict.
        """
        from docker.errors import NotFound

        name = instance.spec.container
        try:
            details = self.engine.api.inspect_container(name)
        except NotFound:
            return None
        labels = details["Config"]["Labels"] or {}
        self._owner.check(f"container {name}", labels, instance.id)
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

    def _create(self, instance: Instance, name: str) -> str:
        from docker.errors import APIError

        spec = instance.spec
        self.engine.ensure_network(self._network)
        self._claim_volume(spec)
        if spec.pull == "always":
            self._provide(spec)
        body = container.request(
            instance, labels=self._owner.labels(instance), network=self._network
        )
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
        if self._provide_image is None:
            raise ImageNotFound(
                f"image {spec.launch.image} is not on {self.engine.endpoint}",
                hint=f"kato image pull {spec.launch.image}",
            )
        self._provide_image(spec.launch.image, spec.pull)

    def _claim_volume(self, spec: InstanceSpec) -> None:
        """Make the data volume, or find our own: another registry's is never mounted."""
        if not spec.launch.data_path:
            return
        name = container.volume_name(spec)
        volume = self.engine.api.create_volume(name, labels=self._owner.volume_labels(spec.id))
        self._owner.check(f"volume {name}", volume["Labels"], spec.id)

    def _take_place(self, new_id: str, spec: InstanceSpec, old_ids: list[str]) -> None:
        for old_id in old_ids:
            lifecycle.stop(self.engine, old_id, grace_s=spec.grace_s)
            lifecycle.remove(self.engine, old_id)
        lifecycle.rename(self.engine, new_id, spec.container)

    def _list(self, labels: list[str]) -> list[Summary]:
        listed: list[Summary] = self.engine.api.containers(all=True, filters={"label": labels})
        return listed

    def _split_by_operation(
        self, instance_id: str, operation_id: str
    ) -> tuple[list[Summary], list[Summary]]:
        """Our containers of one instance: those that the operation made, and the others."""
        listed = self._list([f"{container.ID}={instance_id}", container.SPEC])
        mine = [one for one in listed if self._owner.has(one["Labels"])]
        made = [one for one in mine if one["Labels"].get(container.OPERATION) == operation_id]
        return made, [one for one in mine if one not in made]

    def _existing(self, handle: Handle) -> str:
        if self._details(handle) is None:
            raise InstanceNotFound(
                f"container {handle['name']} is gone", hint=f"kato start --id {handle['instance']}"
            )
        return str(handle["container"])

    def _details(self, handle: Handle) -> Mapping[str, Any] | None:
        """What the engine says about the container of a handle; None when it is gone.

        Raises `RuntimeUnavailable` for a handle of another engine, `Conflict` for a stranger's.
        """
        from docker.errors import NotFound

        if handle["engine"] != self.engine.id:
            raise RuntimeUnavailable(
                f"{handle['name']} belongs to {handle['kind']} at {handle['endpoint']},"
                f" and this is {self.engine.kind} at {self.engine.endpoint}",
                hint=f"DOCKER_HOST={handle['endpoint']} kato ...",
            )
        try:
            details: Mapping[str, Any] = self.engine.api.inspect_container(handle["container"])
        except NotFound:
            return None
        self._owner.check(
            f"container {handle['name']}", details["Config"]["Labels"], handle["instance"]
        )
        return details

    def _handle(self, container_id: str, spec: InstanceSpec, port: int) -> Handle:
        return {
            "kind": self.engine.kind,
            "endpoint": self.engine.endpoint,
            "engine": self.engine.id,
            "container": container_id,
            "name": spec.container,
            "instance": spec.id,
            "port": port,
        }

    def _found(self, summary: Summary) -> Found:
        found = container.found(summary)
        handle = self._handle(summary["Id"], found.instance.spec, found.instance.port)
        mine = self._owner.has(summary["Labels"])
        return dataclasses.replace(
            found,
            instance=dataclasses.replace(found.instance, handle=handle),
            observed=dataclasses.replace(found.observed, handle=handle),
            registry_id=self._owner.registry_id if mine else found.registry_id,
        )
