"""Which runtimes this machine has, and what instances on an engine need besides."""

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from kato_manager.errors import KatoError, RuntimeUnavailable
from kato_manager.model import InstanceSpec
from kato_manager.runtimes.base import Runtime

if TYPE_CHECKING:
    from kato_manager.images import Images
    from kato_manager.runtimes.engine import Engine
    from kato_manager.services import Services


_importing = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which runtime an instance gets; `why` is empty when it was asked for by name."""

    name: str
    why: str


class Runtimes:
    """The runtimes of one `KATO_HOME`, opened when first needed.

    `on_progress` gets a line for every step of long work: building an image, starting a service.
    """

    def __init__(
        self,
        home: Path,
        environ: Mapping[str, str],
        registry_id: Callable[[], str],
        *,
        on_progress: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._home = home
        self._environ = environ
        self._registry_id = registry_id
        self._on_progress = on_progress
        self._opened: dict[str, Runtime] = {}

    @cached_property
    def engine(self) -> "Engine":
        """The container engine that this environment names; connected when first used."""
        from kato_manager.runtimes.engine import Engine

        # Its modules import one another: two threads that begin at once would meet half of it.
        with _importing:
            import docker  # noqa: F401

        return Engine(environ=self._environ)

    @cached_property
    def images(self) -> "Images":
        from kato_manager.images import Images

        return Images(self.engine, self._on_progress)

    @cached_property
    def services(self) -> "Services":
        from kato_manager import services

        declared = services.load(self._home, self._environ)
        return services.Services(declared, self.engine, on_progress=self._on_progress)

    def __getitem__(self, name: str) -> Runtime:
        if name not in self._opened:
            self._opened[name] = self._open(name)
        return self._opened[name]

    def use(self, runtime: Runtime) -> None:
        """Serve `runtime.name` by this object from now on."""
        self._opened[runtime.name] = runtime

    @property
    def present(self) -> list[str]:
        """The runtimes worth asking: an engine only where something of it is on the machine."""
        engine = "docker" in self._opened or engine_is_conceivable(self._environ)
        return ["local", "docker"] if engine else ["local"]

    def choose(self, spec: InstanceSpec, default: str) -> Choice:
        """`spec.runtime`, else `default`, else the engine if it answers and has the image."""
        asked = spec.runtime if spec.runtime != "auto" else default
        if asked != "auto":
            return Choice(name=asked, why="")
        if not spec.launch.command:
            return Choice(name="docker", why="it has no command for a local process")
        if not self._has_engine():
            return Choice(name="local", why="no container engine answers")
        if not self.images.exists(spec.launch.image):
            why = f"image {spec.launch.image} is not on the engine; --runtime docker provides it"
            return Choice(name="local", why=why)
        return Choice(name="docker", why="the engine answers and has the image")

    def _open(self, name: str) -> Runtime:
        if name == "local":
            from kato_manager.runtimes.local import LocalRuntime

            return LocalRuntime(self._home, self._environ)
        if name == "docker":
            from kato_manager.runtimes.docker import DockerRuntime

            return DockerRuntime(
                registry_id=self._registry_id,
                home=str(self._home),
                engine=self.engine,
                provide_image=self.images.provide,
            )
        raise KatoError(f"there is no runtime {name!r}", hint="it is one of: local, docker")

    def _has_engine(self) -> bool:
        if "docker" not in self.present:
            return False
        with suppress(RuntimeUnavailable):
            self["docker"].check()
            return True
        return False


def engine_is_conceivable(environ: Mapping[str, str]) -> bool:
    """Whether anything on the machine hints at an engine; saves 140 ms where nothing does."""
    if any(environ.get(one) for one in ("DOCKER_HOST", "DOCKER_CONTEXT", "CONTAINER_HOST")):
        return True
    runtime_dir = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    config = environ.get("DOCKER_CONFIG") or str(Path.home() / ".docker")
    places = (
        "/var/run/docker.sock",
        f"{runtime_dir}/docker.sock",
        f"{runtime_dir}/podman/podman.sock",
        "/run/podman/podman.sock",
        f"{config}/contexts/meta",
    )
    return any(Path(place).exists() for place in places)
