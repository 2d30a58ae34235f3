"""The engines that tests/engine/up started, and what a test makes on them: gone afterwards.

`fleet` is what tests ask for; marked `docker` or `podman`, they skip where none is up.
"""

import io
import os
import secrets
import shlex
import signal
import socket
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from itertools import count, islice
from pathlib import Path
from queue import Queue
from typing import Any, Self

import pytest

from homes import DEADLINE_S, HERE, free_ports, wait_until
from kato_manager import readiness
from kato_manager.model import Handle, Health, Instance, InstanceSpec, Launch, Operation
from kato_manager.runtimes import container
from kato_manager.runtimes.base import Event
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


def restart_docker() -> None:
    """End the daemon with all it runs, as a reboot does, and start it again."""
    pid_file = Path(facts()["KATO_TEST_ENGINE"], "docker.pid")
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not Path(f"/proc/{pid}/exe").exists(), "the daemon ends")
    subprocess.run([str(HERE / "engine" / "up")], check=True, capture_output=True, timeout=90)


class Relay:
    """A Unix socket in front of an engine, which can be cut off and come back."""

    def __init__(self, target: str, path: Path) -> None:
        self.endpoint = f"unix://{path}"
        self._target = target.removeprefix("unix://")
        self._path = path
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.restore()

    def restore(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Nobody listens any more, and what was connected is cut off."""
        if self._listener:
            self._path.unlink()
            _close(self._listener)
            self._listener = None
        for one in list(self._open):
            _close(one)
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                engine_side = socket.socket(socket.AF_UNIX)
                engine_side.connect(self._target)
                self._open |= {client, engine_side}
                for pair in ((client, engine_side), (engine_side, client)):
                    threading.Thread(target=self._copy, args=pair, daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


class Following:
    """Listens to the next `count` events of a runtime, in a thread of its own."""

    def __init__(self, runtime: DockerRuntime, count: int) -> None:
        self._events: Queue[Event] = Queue()
        self._stream = runtime.events(since=datetime.now(UTC))
        self._thread = threading.Thread(target=self._run, args=(count,), daemon=True)

    def next(self) -> Event:
        return self._events.get(timeout=DEADLINE_S)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(DEADLINE_S)

    def _run(self, count: int) -> None:
        for event in islice(self._stream, count):
            self._events.put(event)
        self._stream.close()


def _close(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in it
    one.close()


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
        return self.runtime_on(self.engine)

    def runtime_on(self, engine: Engine) -> DockerRuntime:
        """The same registry's runtime, reaching an engine by another connection."""
        return DockerRuntime(registry_id=lambda: self.registry_id, home=self.home, engine=engine)

    def serve(self, instance: Instance) -> Handle:
        """Start it and wait until it answers as itself."""
        handle = self.runtime.start(instance, listen(instance.port))
        wait_until(lambda: not readiness.probe(instance), f"{instance.id} serves")
        return handle

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
