"""Shared services: started when a template asks for them, kept when instances stop.

Each is one container per account, on the network that instances share, where it answers to its
name (`redis`). Its data is in a volume and is never deleted here.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kato_manager import images
from kato_manager.config import services as declaration
from kato_manager.config.services import Service
from kato_manager.errors import ConfigError, Conflict, NotReady, StartFailed
from kato_manager.names import closest
from kato_manager.runtimes import attach, lifecycle, network
from kato_manager.runtimes.engine import NETWORK, Engine, explanation

FILE_NAME = "services.yaml"
LABEL = "io.kato.service"
READY_TIMEOUT_S = 60.0
GRACE_S = 10.0
_POLL_S = 0.1
_LAST_LINES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """`state` is `running`, `exited` or `missing`; `detail` is the engine's own phrase."""

    service: Service
    state: str
    detail: str = ""


class Services:
    """The declared services on one engine."""

    def __init__(
        self,
        declared: Mapping[str, Service],
        engine: Engine,
        *,
        network: str = NETWORK,
        on_progress: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._declared = declared
        self._engine = engine
        self._network = network
        self._on_progress = on_progress
        self._images = images.Images(engine, on_progress)

    def ensure(self, names: Iterable[str], *, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Start what does not run, and wait until every one of them is healthy.

        Raises `NotReady` with its last lines, `ImageNotFound`, `Conflict` when somebody else's
        container has the name.
        """
        wanted = [self._service(name) for name in names]
        with self._engine.answering():
            for service in wanted:
                self._start(service)
            for service in wanted:
                self._wait_until_healthy(service, timeout_s)

    def list(self) -> list[ServiceState]:
        """Every declared service as it stands, in one request."""
        with self._engine.answering():
            ours = self._engine.api.containers(all=True, filters={"label": LABEL})
        by_name = {name.lstrip("/"): one for one in ours for name in one["Names"]}
        return [
            _state(service, by_name.get(service.container)) for service in self._declared.values()
        ]

    def stop(self, names: Iterable[str] | None = None) -> None:
        """Stop and remove their containers; the data stays. Without names: all that run."""
        wanted = self._declared.values() if names is None else map(self._service, names)
        with self._engine.answering():
            for service in wanted:
                if details := self._details(service):
                    lifecycle.stop(self._engine, details["Id"], grace_s=GRACE_S)
                    lifecycle.remove(self._engine, details["Id"])

    def _service(self, name: str) -> Service:
        if name in self._declared:
            return self._declared[name]
        meant = closest(name, self._declared)
        raise ConfigError(
            f"no service {name!r}" + (f', did you mean "{meant}"?' if meant else ""),
            hint=f"there are: {', '.join(self._declared)}",
        )

    def _start(self, service: Service) -> None:
        details = self._details(service) or self._create(service)
        if not details["State"]["Running"]:
            self._on_progress(f"starting {service.name}")
            self._engine.api.start(details["Id"])

    def _create(self, service: Service) -> Mapping[str, Any]:
        from docker.errors import APIError

        self._images.provide(service.image, "missing")
        network.ensure(self._engine, self._network)
        try:
            self._engine.create(service.container, _request(service, self._network))
        except APIError as error:
            details = self._details(service)  # another command was quicker
            if details is None:
                raise StartFailed(
                    f"service {service.name} cannot be created: {explanation(error)}"
                ) from error
            return details
        return self._details(service) or {}

    def _details(self, service: Service) -> Mapping[str, Any] | None:
        """What the engine says about its container; `Conflict` when that is somebody else's."""
        from docker.errors import NotFound

        try:
            details: Mapping[str, Any] = self._engine.api.inspect_container(service.container)
        except NotFound:
            return None
        if (details["Config"]["Labels"] or {}).get(LABEL) != service.name:
            raise Conflict(
                f"container {service.container} was not made as service {service.name}",
                hint=f"docker rename {service.container} NAME",
            )
        return details

    def _wait_until_healthy(self, service: Service, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        self._on_progress(f"waiting for {service.name}")
        while not self._is_healthy(service):
            details = self._details(service)
            if details is None or not details["State"]["Running"]:
                raise StartFailed(f"service {service.name} ended:\n{self._last_lines(service)}")
            if time.monotonic() > deadline:
                raise NotReady(
                    f"service {service.name} was not healthy after {timeout_s:g} s:\n"
                    f"{self._last_lines(service)}",
                    hint=f"docker logs {service.container}",
                )
            time.sleep(_POLL_S)

    def _is_healthy(self, service: Service) -> bool:
        """Asked here: the engine asks at its own pace, and Podman not at all without systemd."""
        from docker.errors import APIError

        if service.health is None:
            return True
        try:
            made = self._engine.api.exec_create(service.container, list(service.health.command))
            self._engine.api.exec_start(made["Id"])
            return bool(self._engine.api.exec_inspect(made["Id"])["ExitCode"] == 0)
        except APIError:  # it does not run (any more): the caller looks
            return False

    def _last_lines(self, service: Service) -> str:
        said = self._engine.api.logs(service.container, tail=_LAST_LINES)
        return "\n".join(attach.lines([said]))


def load(home: Path, environ: Mapping[str, str]) -> dict[str, Service]:
    """The services by name: `$KATO_HOME/services.yaml`, else those that come with kato-manager."""
    own = home / FILE_NAME
    return declaration.read(own if own.exists() else images.folder() / FILE_NAME, environ)


def _state(service: Service, summary: Mapping[str, Any] | None) -> ServiceState:
    if summary is None:
        return ServiceState(service=service, state="missing")
    state = "running" if summary["State"] == "running" else "exited"
    return ServiceState(service=service, state=state, detail=summary["Status"])


def _request(service: Service, network: str) -> dict[str, Any]:
    """The body of the engine's create request (Docker API 1.41)."""
    body: dict[str, Any] = {
        "Image": service.image,
        "Labels": {LABEL: service.name},
        "Env": [f"{name}={value}" for name, value in service.environment.items()],
        "HostConfig": {
            "NetworkMode": network,
            "Binds": list(service.volumes),
            "RestartPolicy": {"Name": service.restart},
            "SecurityOpt": ["no-new-privileges"],
        },
        "NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": [service.name]}}},
    }
    if service.command:
        body["Cmd"] = list(service.command)
    if service.health:
        body["Healthcheck"] = {"Test": ["CMD", *service.health.command], **service.health.timing_ns}
    return body
