"""What the runtime contract is tested on: the same rig around every runtime."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count, cycle
from pathlib import Path
from typing import Any

import pytest

from engines import listen, new_fleet, operation
from fakes import FakeRuntime, Unreachable
from homes import is_served, new_home, wait_until
from kato_manager import readiness
from kato_manager.model import Handle, Instance, InstanceSpec
from kato_manager.runtimes.base import Binds, Runtime
from kato_manager.runtimes.docker import DockerRuntime
from kato_manager.runtimes.engine import Engine
from kato_manager.runtimes.local import LocalRuntime

# What a runtime has not, by its nature or as a fake; tests marked `needs` of it are not for it.
LACKS = {
    "fake": {"echo", "find", "recover", "same-port"},
    "local-fd": {"engine", "own-bind"},
    "local-port": {"engine"},
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(ability): only for runtimes that have it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    unfit = [item for item in items if _lacks_something(item)]
    if unfit:
        config.hook.pytest_deselected(items=unfit)
        items[:] = [item for item in items if item not in unfit]


def _lacks_something(item: pytest.Item) -> bool:
    needed = {mark.args[0] for mark in item.iter_markers("needs")}
    runtime = getattr(item, "callspec", None) and item.callspec.params.get("module_rig")
    return bool(needed & LACKS.get(runtime, set()))


@dataclass
class Rig:
    """A runtime and instances for it; what a test starts ends with the test.

    `another` is the same runtime as another process has it, `silent` the one whose engine does not
    answer.
    """

    runtime: Runtime
    spec: Callable[..., InstanceSpec]
    ports: range
    another: Callable[[], Runtime]
    silent: Runtime | None = None
    echoes: bool = True  # its instances tell their settings
    started: list[Handle] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self._next_ports = cycle(self.ports)

    def instance(self, name: str = "a", *, port: int = 0, **values: Any) -> Instance:
        """Ids are unique in the rig, unless `same_as` names the instance to be replaced."""
        now = datetime.now(UTC).replace(microsecond=0)
        same_as = values.pop("same_as", None)
        made = values.pop("operation", None) or operation("replace" if same_as else "start")
        spec_id = {"id": same_as.id} if same_as else {}
        return Instance(
            operation=made,
            spec=self.spec(f"{name}{next(self.numbers)}", **spec_id, **values),
            port=port or next(port for port in self._next_ports if not is_served(port)),
            created_at=now,
            updated_at=now,
        )

    def start(self, instance: Instance, listener: socket.socket | None = None) -> Handle:
        handle = self.runtime.start(instance, listener or listen(instance.port))
        self.started.append(handle)
        if isinstance(self.runtime, Binds):
            self.runtime.await_bind(handle, 30)
        return handle

    def serve(self, instance: Instance) -> Handle:
        """Start it and wait until it answers as itself."""
        handle = self.start(instance)
        self.wait_until_ready(instance)
        return handle

    def replace(self, old: Handle, new: Instance, **given: Any) -> Handle:
        ready = given.get("ready") or (lambda _handle: self.wait_until_ready(new))
        listener = listen(new.port) if given["moves"] else None
        handle = self.runtime.replace(old, new, listener, ready)
        self.started.append(handle)
        return handle

    def found(self, instance: Instance) -> Any:
        """What the runtime holds of an instance; None when nothing."""
        mine = [one for one in self.another().find() if one.instance.id == instance.id]
        assert len(mine) <= 1
        return mine[0] if mine else None

    def end(self) -> None:
        while self.started:
            self.runtime.stop(self.started.pop(), grace_s=0)

    @staticmethod
    def wait_until_ready(instance: Instance) -> None:
        wait_until(lambda: not readiness.probe(instance), f"{instance.id} serves")


@contextmanager
def fake(folder: Path) -> Iterator[Rig]:
    def spec(name: str, **values: Any) -> InstanceSpec:
        return InstanceSpec(**{"id": name, **values})

    with new_home(folder) as home:
        runtime = FakeRuntime()
        yield Rig(runtime, spec, home.ports, lambda: runtime, Unreachable(), echoes=False)
        runtime.close()


@contextmanager
def local(folder: Path, listens: str) -> Iterator[Rig]:
    with new_home(folder) as home:

        def spec(name: str, **values: Any) -> InstanceSpec:
            return home.spec(values.pop("id", name), listen=listens, **values)

        def another() -> Runtime:
            return LocalRuntime(home.path, home.environ)

        yield Rig(another(), spec, home.ports, another)


@contextmanager
def engine(kind: str) -> Iterator[Rig]:
    with new_fleet(kind) as fleet:
        nowhere = Engine("unix:///nonexistent/engine.sock")
        silent = DockerRuntime(registry_id=lambda: fleet.registry_id, home="/", engine=nowhere)

        yield Rig(fleet.runtime, fleet.spec, fleet.ports, lambda: fleet.runtime, silent)


@pytest.fixture(
    scope="module",
    params=[
        "fake",
        "local-fd",
        "local-port",
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("podman", marks=pytest.mark.podman),
    ],
)
def module_rig(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rig]:
    kind, _, listens = request.param.partition("-")
    folder = tmp_path_factory.mktemp(request.param)
    opened = {"fake": lambda: fake(folder), "local": lambda: local(folder, listens)}
    with opened.get(kind, lambda: engine(kind))() as one:
        yield one


@pytest.fixture
def rig(module_rig: Rig) -> Iterator[Rig]:
    yield module_rig
    module_rig.end()


@pytest.fixture(scope="module")
def served(module_rig: Rig) -> Iterator[tuple[Instance, Handle]]:
    """One instance that serves, for tests that only look."""
    instance = module_rig.instance("served", env={"ECHO_X": "ü x"}, group="g", settings={"n": 1})
    handle = module_rig.serve(instance)
    module_rig.started.clear()
    yield instance, handle
    module_rig.runtime.stop(handle, grace_s=0)
