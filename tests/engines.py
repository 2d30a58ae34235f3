"""The engines that tests/engine/up started, and what a test makes on them: gone afterwards.

`fleet` is what tests ask for; marked `docker` or `podman`, they skip where none is up.
"""

import io
import os
import secrets
import shlex
import socket
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from homes import HERE, free_ports
from kato_manager.model import Health, Instance, InstanceSpec, Launch, Operation
from kato_manager.runtimes import container
from kato_manager.runtimes.docker import DockerRuntime
from kato_manager.runtimes.engine import Engine

ECHO_IMAGE = "kato-test/echo"
ECHO_DOCKERFILE = """\
FROM {base}
COPY echo_processor.py /echo.py
RUN mkdir /data && chown 10001:10001 /data
USER 10001:10001
WORKDIR /data
ENTRYPOINT ["python3", "-I", "-S", "-u", "/echo.py"]
"""


@cache
def facts() -> Mapping[str, str]:
    """What tests/engine/up wrote into its `env`; the environment's own KATO_TEST_* win."""
    cache_folder = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    default = Path(cache_folder, "kato-test-engine")
    env = Path(os.environ.get("KATO_TEST_ENGINE") or default) / "env"
    written = env.read_text().splitlines() if env.exists() else []
    pairs = (shlex.split(line)[1].partition("=") for line in written if line)
    own = {key: value for key, value in os.environ.items() if key.startswith("KATO_TEST_")}
    return {**{name: value for name, _, value in pairs}, **own}


def endpoint(kind: str) -> str:
    """The address of an engine, `docker` or `podman`; skips the test where there is none."""
    found = facts().get(f"KATO_TEST_{kind.upper()}_HOST", "")
    if not found:
        pytest.skip(f"no {kind}: tests/engine/up starts one")
    return found


@cache
def engine(kind: str) -> Engine:
    return Engine(endpoint(kind))


@cache
def echo_image(kind: str) -> str:
    """An image that runs the echo processor; the engine's cache makes this quick."""
    dockerfile = ECHO_DOCKERFILE.format(base=facts()["KATO_TEST_BASE_IMAGE"])
    echo = (HERE / "echo_processor.py").read_bytes()
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, content in {"Dockerfile": dockerfile.encode(), "echo_processor.py": echo}.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    context.seek(0)
    steps = engine(kind).api.build(
        fileobj=context, custom_context=True, tag=ECHO_IMAGE, rm=True, decode=True
    )
    assert not [step for step in steps if "error" in step]
    return ECHO_IMAGE


def listen(port: int = 0) -> socket.socket:
    """A reservation as `ports` makes it."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen()
    return listener


def operation(verb: str = "start", **values: Any) -> Operation:
    given = {"pid": os.getpid(), "started": "", "since": datetime.now(UTC), **values}
    return Operation(id=secrets.token_hex(8), verb=verb, **given)


@dataclass
class Fleet:
    """One registry's runtime on one engine, and instances whose ids no other test uses."""

    kind: str
    ports: range
    home: str = field(default_factory=lambda: f"/home/{secrets.token_hex(4)}/.kato")
    registry_id: str = field(default_factory=lambda: secrets.token_hex(16))
    suffix: str = field(default_factory=lambda: secrets.token_hex(4))

    numbers: Iterator[int] = field(default_factory=count)

    @property
    def engine(self) -> Engine:
        return engine(self.kind)

    @property
    def runtime(self) -> DockerRuntime:
        return DockerRuntime(
            registry_id=lambda: self.registry_id, home=self.home, engine=self.engine
        )

    def spec(self, name: str = "a", *, echo: str = "", **values: Any) -> InstanceSpec:
        """An echo processor; `echo` is its behaviour."""
        launch = Launch(
            image=echo_image(self.kind),
            args=("--id", "{id}", "--host", "{host}", "--port", "{port}"),
            health=Health(path="/health", identity="instance_id"),
            data_path="/data",
        )
        env = {"ECHO": echo, **values.pop("env", {})}
        given = {"id": f"{name}-{self.suffix}", "template": "echo", "grace_s": 3.0, **values}
        return InstanceSpec(**{"launch": launch, "env": env, **given})

    def instance(self, name: str = "a", *, port: int = 0, **values: Any) -> Instance:
        now = datetime.now(UTC).replace(microsecond=0)
        return Instance(
            operation=values.pop("operation", None) or operation(),
            spec=self.spec(name, **values),
            port=port or self.ports[next(self.numbers)],
            created_at=now,
            updated_at=now,
        )

    def containers(self) -> list[str]:
        """The names of everything of ours on the engine, in whatever state."""
        return sorted(one["Names"][0].lstrip("/") for one in self._labelled())

    def volumes(self) -> list[str]:
        mark = {"label": f"{container.HOME}={self._mark}"}
        return sorted(one["Name"] for one in self.engine.api.volumes(mark)["Volumes"] or [])

    def close(self) -> None:
        for one in self._labelled():
            self.engine.api.remove_container(one["Id"], force=True, v=True)
        for name in self.volumes():
            self.engine.api.remove_volume(name)

    @property
    def _mark(self) -> str:
        return f"{socket.gethostname()}:{self.home}"

    def _labelled(self) -> list[Any]:
        mark = {"label": f"{container.HOME}={self._mark}"}
        return self.engine.api.containers(all=True, filters=mark)


@contextmanager
def new_fleet(kind: str) -> Iterator[Fleet]:
    endpoint(kind)
    with free_ports() as block:
        one = Fleet(kind, block)
        try:
            yield one
        finally:
            one.close()


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """On Docker."""
    with new_fleet("docker") as one:
        yield one
