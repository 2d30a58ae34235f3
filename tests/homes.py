"""A `KATO_HOME` for one test: its own folder, its own free ports, the real command, and an end.

The fixture `home` is what tests ask for; `wait_until` is how they wait.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kato_manager import process
from kato_manager.manager import Manager
from kato_manager.model import Health, InstanceSpec, Launch
from kato_manager.settings import Settings

HERE = Path(__file__).parent
KATO = str(Path(sys.executable).with_name("kato"))
ECHO = ("{python}", "-I", "-S", str(HERE / "echo_processor.py"), "--id", "{id}")
BLOCK = 40
BLOCKS = range(10_000, 30_000, BLOCK)  # below the ephemeral ports, above what services use
DEADLINE_S = 30.0
_NOT_OURS = ("KATO_", "PYTHON")  # users have neither of those that a test run may have
ECHO_TEMPLATE = """\
command: [{command}]
listen: {listen}
health: {{path: /health, identity: instance_id}}
settings:
  recall_threshold:
    {{type: number, minimum: 0, maximum: 1, default: 0.1, env: ECHO_RECALL_THRESHOLD, help: r}}
  max_predictions: {{type: integer, minimum: 1, default: 100, env: ECHO_MAX_PREDICTIONS, help: m}}
"""


@dataclass(frozen=True)
class Finished:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Home:
    path: Path
    ports: range
    gateway_port: int
    environ: dict[str, str] = field(default_factory=dict)
    _managers: list[Manager] = field(default_factory=list)
    _commands: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def __post_init__(self) -> None:
        self.environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith(_NOT_OURS)},
            "KATO_HOME": str(self.path),
            "KATO_PORT_RANGE": f"{self.ports.start}-{self.ports.stop - 1}",
            "KATO_GATEWAY_PORT": str(self.gateway_port),
            "KATO_RUNTIME": "local",
            "NO_COLOR": "1",
        }

    @property
    def registry(self) -> Path:
        return self.path / "instances.json"

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.registry.read_text(encoding="utf-8"))

    @property
    def settings(self) -> Settings:
        return Settings.load(self.environ)

    def manager(self, notes: list[str] | None = None) -> Manager:
        told = [] if notes is None else notes
        manager = Manager.of(self.settings, self.environ, on_note=told.append)
        self._managers.append(manager)
        return manager

    def spec(self, instance_id: str = "a", *, listen: str = "fd", **values: Any) -> InstanceSpec:
        """An echo processor; `echo` is its behaviour."""
        env = {"ECHO": values.pop("echo", ""), **values.pop("env", {})}
        launch = Launch(
            command=echo_command(listen),
            listen=listen,
            health=Health(path="/health", identity="instance_id"),
        )
        given = {"template": "echo", "grace_s": 3.0, "launch": launch, "env": env, **values}
        return InstanceSpec(id=instance_id, **given)

    def kato(self, *words: str, env: Mapping[str, str] | None = None, stdin: str = "") -> Finished:
        """Run one command to its end."""
        done = subprocess.run(
            [KATO, *words],
            env={**self.environ, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def start(self, *words: str, env: Mapping[str, str] | None = None) -> Finished:
        """`kato start` of the echo template, without a gateway."""
        return self.kato("start", "--template", "echo", "--no-gateway", *words, env=env)

    def spawn(self, *words: str, env: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """Begin a command; the caller waits for it."""
        command = subprocess.Popen(
            [KATO, *words],
            env={**self.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._commands.append(command)
        return command

    def ids(self) -> list[str]:
        return [one["id"] for one in self.kato("list", "--format", "json").json["instances"]]

    def processes(self) -> list[int]:
        """Everything that lives and was started from this home, by whomever."""
        return [pid for pid in process.marked(f"KATO_HOME={self.path}") if pid != os.getpid()]

    def listening(self) -> list[int]:
        """The ports of this home on which anybody listens."""
        return [port for port in self.ports if is_served(port)]

    def is_clean(self) -> bool:
        """No entry, no process, no port."""
        entries = self.document["instances"] if self.registry.exists() else {}
        return not entries and not self.processes() and not self.listening()

    def close(self) -> None:
        for command in self._commands:
            command.kill()
            with suppress(ValueError):  # its streams were read to their end
                command.communicate()
        while pids := self.processes():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        for manager in self._managers:
            for child in getattr(manager.runtimes["local"], "_children", {}).values():
                child.wait()


def echo_command(listen: str) -> tuple[str, ...]:
    return (*ECHO, f"--{listen}", f"{{{listen}}}")


def wait_until(condition: Callable[[], Any], what: str = "", deadline_s: float = DEADLINE_S) -> Any:
    """The first true value of the condition; fails after the deadline."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"never came true: {what or condition}"
        time.sleep(0.005)
    return value


def is_served(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def get(port: int, path: str = "/") -> dict[str, Any]:
    """The JSON that an instance answers on its own port."""
    from urllib.request import urlopen

    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return json.load(answer)


@contextmanager
def stranger(port: int) -> Iterator[socket.socket]:
    """Somebody else's listener."""
    with socket.create_server(("127.0.0.1", port)) as other:
        yield other


@contextmanager
def free_ports() -> Iterator[range]:
    """A block of ports that no other test process uses, as long as this lasts."""
    folder = Path(tempfile.gettempdir()) / f"kato-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    first = os.getpid() % len(BLOCKS)
    for start in [*BLOCKS[first:], *BLOCKS[:first]]:
        block = range(start, start + BLOCK)
        with (folder / str(start)).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if not any(is_served(port) for port in block):
                yield block
                return
    raise AssertionError("no block of ports is free on this machine")


@contextmanager
def new_home(folder: Path) -> Iterator[Home]:
    with free_ports() as block:
        home = Home(path=folder / "home", ports=block[1:], gateway_port=block[0])
        templates = home.path / "templates"
        templates.mkdir(parents=True)
        home.path.chmod(0o700)
        for listen, name in (("fd", "echo"), ("port", "echo-port")):
            words = ", ".join(json.dumps(word) for word in echo_command(listen))
            text = ECHO_TEMPLATE.format(command=words, listen=listen)
            (templates / f"{name}.yaml").write_text(text)
        try:
            yield home
        finally:
            home.close()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with new_home(tmp_path) as one:
        yield one
