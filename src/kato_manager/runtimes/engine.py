"""One connection to a container engine: Docker, or Podman's socket that speaks the same.

The docker SDK costs 140 ms to import, so that happens at the first request, not before.
"""

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kato_manager.errors import ConfigError, KatoError, RuntimeUnavailable

if TYPE_CHECKING:
    from docker import APIClient
    from docker.context import ContextAPI
    from docker.errors import APIError

NETWORK = "kato-network"
DOCKER_SOCKET = "unix:///var/run/docker.sock"
ANSWER_TIMEOUT_S = 120
MAX_CONNECTIONS = 64
_SILENT = (
    "start it (systemctl start docker), name another (DOCKER_HOST=unix:///path),"
    " or do without: --runtime local"
)
_DENIED = "join its group (sudo usermod -aG docker $USER, then log in again), or: --runtime local"


class Engine:
    """Connects when first used; safe to share between threads.

    The address is `endpoint`, else DOCKER_HOST, else the current Docker context, else Docker's
    socket, else Podman's; `environ` decides, nothing else.
    """

    def __init__(self, endpoint: str = "", *, environ: Mapping[str, str] = os.environ) -> None:
        self._endpoint = endpoint
        self._environ = environ
        self._lock = threading.Lock()
        self._client: APIClient | None = None
        self._identity: tuple[str, str] | None = None

    @property
    def endpoint(self) -> str:
        return str(self._parameters["base_url"])

    @property
    def api(self) -> "APIClient":
        """The SDK's client; raises `RuntimeUnavailable` when nothing answers."""
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    @property
    def kind(self) -> str:
        """`docker` or `podman`."""
        return self._identified()[0]

    @property
    def id(self) -> str:
        """Which engine this is, whatever address it is reached by."""
        return self._identified()[1]

    def check(self) -> None:
        """Raise `RuntimeUnavailable`, with a hint, unless the engine answers."""
        with self.answering():
            self.api.ping()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Turn silence into `RuntimeUnavailable`, and what is left of refusals into `KatoError`."""
        from docker.errors import APIError, DockerException
        from requests.exceptions import RequestException
        from urllib3.exceptions import HTTPError

        self._knock()
        try:
            yield
        except APIError as error:
            raise KatoError(f"{self.endpoint} refused: {explanation(error)}") from error
        except (DockerException, RequestException, HTTPError, ConnectionResetError) as error:
            raise self.unavailable(error) from error

    def unavailable(self, error: Exception) -> RuntimeUnavailable:
        cause = _root_cause(error)
        denied = isinstance(cause, PermissionError)
        reason = cause.strerror if isinstance(cause, OSError) else str(cause)
        return RuntimeUnavailable(
            f"no container engine answers at {self.endpoint}: {reason or type(cause).__name__}",
            hint=_DENIED if denied else _SILENT,
        )

    def create(self, name: str, request: Mapping[str, Any]) -> str:
        """Create a container by the engine's own JSON; its id. The SDK's errors pass."""
        api: Any = self.api  # this method of the SDK has no types
        return str(api.create_container_from_config(dict(request), name)["Id"])

    def _knock(self) -> None:
        """Refuse a Unix socket where nobody listens: the SDK leaks one of its own each time."""
        if not self.endpoint.startswith("unix://"):
            return
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(self.endpoint.removeprefix("unix://"))
            except OSError as error:
                raise self.unavailable(error) from error

    def _connect(self) -> "APIClient":
        from docker import APIClient
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        try:
            return APIClient(
                **self._parameters,
                version="auto",
                timeout=ANSWER_TIMEOUT_S,
                max_pool_size=MAX_CONNECTIONS,
            )
        except (DockerException, RequestException) as error:
            raise self.unavailable(error) from error

    @cached_property
    def _parameters(self) -> dict[str, Any]:
        """How to reach the engine, as the SDK's arguments."""
        from docker.context import ContextAPI
        from docker.errors import DockerException
        from docker.utils import kwargs_from_env

        if self._endpoint:
            return {"base_url": self._endpoint}
        try:
            given: dict[str, Any] = dict(kwargs_from_env({"DOCKER_HOST": "", **self._environ}))
        except DockerException as error:
            raise ConfigError(f"DOCKER_CERT_PATH: {error}") from error
        if "base_url" not in given:
            given = {**self._from_context(ContextAPI), **given}
        if given["base_url"] == DOCKER_SOCKET and not _is_there(DOCKER_SOCKET):
            podman = f"unix://{self._environ.get('XDG_RUNTIME_DIR') or '/run'}/podman/podman.sock"
            given["base_url"] = podman if _is_there(podman) else DOCKER_SOCKET
        return given

    def _from_context(self, contexts: type["ContextAPI"]) -> dict[str, Any]:
        name = self._environ.get("DOCKER_CONTEXT")
        if name and contexts.get_context(name) is None:
            raise ConfigError(
                f"DOCKER_CONTEXT: there is no Docker context {name!r}", hint="docker context ls"
            )
        found: Any = contexts.kwargs_from_context(environment=self._environ)
        host = found.get("base_url", DOCKER_SOCKET).replace("http+unix://", "unix://")
        return {**found, "base_url": host}

    def _identified(self) -> tuple[str, str]:
        if self._identity is None:
            with self.answering():
                components = self.api.version().get("Components") or []
                facts = self.api.info()
            if any("Podman" in component["Name"] for component in components):
                # Podman makes up a new ID for every answer.
                self._identity = "podman", f"{facts['Name']}:{facts['DockerRootDir']}"
            else:
                self._identity = "docker", facts["ID"]
        return self._identity


def _is_there(endpoint: str) -> bool:
    return Path(endpoint.removeprefix("unix://")).exists()


def explanation(error: "APIError") -> str:
    return str(error.explanation or error)


def _root_cause(error: BaseException) -> BaseException:
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error
