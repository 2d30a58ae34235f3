"""Runs every instance in a container of its own, on Docker or on Podman's Docker-compatible socket.

A container is known by the engine's id for it, which the handle keeps; its name is for people.
Nothing is stopped or removed before its labels say that it is ours.
"""

import dataclasses
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from datetime import datetime
from typing import Any

from kato_manager.errors import InstanceNotFound, PortTaken, RuntimeUnavailable, StartFailed
from kato_manager.model import Handle, Instance, InstanceSpec, Json, Operation
from kato_manager.runtimes import attach, container, events, lifecycle, usage
from kato_manager.runtimes.base import Event, Found, Observed, Usage
from kato_manager.runtimes.creation import Creation, ProvideImage
from kato_manager.runtimes.engine import NETWORK, Engine
from kato_manager.runtimes.ownership import Owner

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
        registry_id: Callable[[], str],
        home: str,
        engine: Engine | None = None,
        network: str = NETWORK,
        provide_image: ProvideImage | None = None,
    ) -> None:
        self.engine = engine or Engine()
        self._owner = Owner.here(registry_id, home)
        self._creation = Creation(self.engine, self._owner, network, provide_image)

    def check(self) -> None:
        self.engine.check()

    def start(self, instance: Instance, listener: socket.socket) -> Handle:
        with listener, self.engine.answering():
            running = self._creation.already_running(instance)
            if running:
                return self._handle_of(self._list({"id": [running]})[0])
            with self._creation.made(instance, instance.spec.container) as container_id:
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
        engine, old_id, name = self.engine, old["container"], container.new_name(new.spec)
        with listener or nullcontext(), engine.answering():
            self._details(old)
            with (
                lifecycle.started_again_on_failure(engine, old_id),
                self._creation.made(new, name) as new_id,
            ):
                if listener:
                    listener.close()
                else:
                    lifecycle.stop(engine, old_id, grace_s=new.spec.grace_s)
                    lifecycle.wait_until_free(engine, old["port"])
                lifecycle.start(engine, new_id, new)
                handle = self._handle(new_id, new.spec, new.port)
                ready(handle)
            self._take_place(new_id, new.spec, [old_id])
            return handle

    def owns(self, handle: Handle) -> bool:
        with self.engine.answering():
            return bool(handle["engine"] == self.engine.id)

    def inspect(self, handle: Handle) -> Observed:
        with self.engine.answering():
            details = self._details(handle)
        if details is None:
            return Observed(state="missing", handle=handle)
        return container.observed(details, handle)

    def logs(self, handle: Handle, *, tail: int | None, follow: bool) -> Iterator[str]:
        with self.engine.answering():
            container_id = self._existing(handle)["Id"]
            wanted: Any = "all" if tail is None else tail
            chunks = self.engine.api.logs(container_id, stream=True, follow=follow, tail=wanted)
            with attach.disconnected_after(chunks):
                yield from attach.lines(chunks)

    def find(self) -> list[Found]:
        """As promised; an empty registry id stands for our own `home`, whatever its id was."""
        marks = [container.REGISTRY, container.ID, container.SPEC, container.PORT]
        with self.engine.answering():
            return [self._found(one) for one in self._list({"label": marks})]

    def recover(self, instance: Instance) -> Found | None:
        """As promised; nothing that did not start is left.

        What the operation started takes the place of what was there before; otherwise that serves
        again, if the operation may have stopped it. Containers that neither made are left alone.
        """
        operation = instance.operation
        if operation is None:
            return None
        with self.engine.answering():
            started, before = self._of_operation(instance, operation)
            if started:
                self._take_place(started[0], instance.spec, before)
            elif before and operation.verb in {"restart", "replace"}:
                with suppress(PortTaken, StartFailed):  # then it is found at rest, as it is
                    lifecycle.start(self.engine, before[0], instance)
            left = [*started, *before][:1]
            return self._found(self._list({"id": left})[0]) if left else None

    def purge(self, instance: Instance) -> None:
        from docker.errors import NotFound

        name = container.volume_name(instance.spec)
        with self.engine.answering(), suppress(NotFound):
            volume = self.engine.api.inspect_volume(name)
            self._owner.check(f"volume {name}", volume["Labels"], instance.id)
            self.engine.api.remove_volume(name)

    def exec(self, handle: Handle, command: tuple[str, ...], *, tty: bool) -> int:
        with self.engine.answering():
            return attach.run(self.engine.api, self._running(handle), command, tty=tty)

    def stats(self, handle: Handle) -> Usage:
        with self.engine.answering():
            return usage.measure(self.engine.api, self._running(handle))

    def events(self, *, since: datetime | None) -> Iterator[Event]:
        return events.follow(self.engine, self._owner.registry_id(), since=since)

    def _take_place(self, new_id: str, spec: InstanceSpec, old_ids: list[str]) -> None:
        for old_id in old_ids:
            lifecycle.stop(self.engine, old_id, grace_s=spec.grace_s)
            lifecycle.remove(self.engine, old_id)
        lifecycle.rename(self.engine, new_id, spec.container)

    def _of_operation(
        self, instance: Instance, operation: Operation
    ) -> tuple[list[str], list[str]]:
        """The containers that the operation started, and those that are recorded besides.

        What it created and never started is removed, and what is being removed is waited for.
        """
        known = [one for one in (operation.replaces, instance.handle) if one]
        for handle in known:
            self._refuse_foreign(handle)
        recorded = {one["container"] for one in known}
        listed = self._list({"label": [f"{container.ID}={instance.id}", container.SPEC]})
        mine = [one for one in listed if self._owner.has(one["Labels"])]
        started, before = [], []
        for one in mine:
            if one["Labels"].get(container.OPERATION) != operation.id:
                before += [one["Id"]] if one["Id"] in recorded else []
            elif one["State"] in {"created", "removing", "dead"}:
                lifecycle.remove(self.engine, one["Id"])
            else:
                started.append(one["Id"])
        return started, before

    def _list(self, filters: Mapping[str, list[str]]) -> list[Summary]:
        listed: list[Summary] = self.engine.api.containers(all=True, filters=dict(filters))
        return listed

    def _existing(self, handle: Handle) -> Mapping[str, Any]:
        if details := self._details(handle):
            return details
        raise InstanceNotFound(
            f"container {handle['name']} is gone", hint=f"kato start --id {handle['instance']}"
        )

    def _running(self, handle: Handle) -> str:
        details = self._existing(handle)
        if not details["State"]["Running"]:
            raise InstanceNotFound(
                f"container {handle['name']} does not run",
                hint=f"kato start --id {handle['instance']}",
            )
        return str(details["Id"])

    def _details(self, handle: Handle) -> Mapping[str, Any] | None:
        """What the engine says about the container of a handle; None when it is gone.

        Raises `RuntimeUnavailable` for a handle of another engine, `Conflict` for a stranger's.
        """
        from docker.errors import NotFound

        self._refuse_foreign(handle)
        try:
            details: Mapping[str, Any] = self.engine.api.inspect_container(handle["container"])
        except NotFound:
            return None
        self._owner.check(
            f"container {handle['name']}", details["Config"]["Labels"], handle["instance"]
        )
        return details

    def _refuse_foreign(self, handle: Handle) -> None:
        if not self.owns(handle):
            raise RuntimeUnavailable(
                f"{handle['name']} belongs to {handle['kind']} at {handle['endpoint']},"
                f" and this is {self.engine.kind} at {self.engine.endpoint}",
                hint=f"DOCKER_HOST={handle['endpoint']} kato ...",
            )

    def _handle(self, container_id: str, spec: InstanceSpec, port: int) -> dict[str, Json]:
        return {
            "kind": self.engine.kind,
            "endpoint": self.engine.endpoint,
            "engine": self.engine.id,
            "container": container_id,
            "name": spec.container,
            "instance": spec.id,
            "port": port,
        }

    def _handle_of(self, summary: Summary) -> Handle:
        """The very handle that its start gave, by whatever address the engine is reached now."""
        instance = container.found(summary).instance
        made_by = summary["Labels"].get(container.ENDPOINT, self.engine.endpoint)
        handle = self._handle(summary["Id"], instance.spec, instance.port)
        return {**handle, "endpoint": made_by}

    def _found(self, summary: Summary) -> Found:
        found = container.found(summary)
        handle = self._handle_of(summary)
        at_home = summary["Labels"].get(container.HOME) == self._owner.home
        return dataclasses.replace(
            found,
            instance=dataclasses.replace(found.instance, handle=handle),
            observed=dataclasses.replace(found.observed, handle=handle),
            registry_id="" if at_home else found.registry_id,
        )
