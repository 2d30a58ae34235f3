"""Real things for the guides' blocks: a gateway, processors, Redis, and the commands they name."""

import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from homes import KATO, Home, get, new_home, wait_until
from kato_sessions import guides
from kato_sessions.client import KATOClient
from scenarios.guides.blocks import BLOCKS

PORT = re.compile(r"(?<=--port )\d+|(?<=port: )\d+")
# The guides' commands, as the README maps them to ours.
COMMANDS = {
    "start.sh": 'exec "{kato}" start "$@"',
    "kato-manager.sh": 'exec "{kato}" "$@"',
    "docker-compose": """\
case "$*" in
  ps) exec "{kato}" list ;;
  down) exec "{kato}" stop --all --yes ;;
  *) shift; exec "{kato}" stop "$@" --yes ;;
esac""",
    "docker": """\
case "$1" in
  ps) exec "{kato}" list -q ;;
  rm) shift; exec "{kato}" stop "$@" ;;
  exec) shift 3; exec redis-cli -s "$REDIS_SOCKET" "$@" ;;
esac""",
    "curl": 'exec {curl} --fail-with-body -sS "$@"',
    "python": 'exec "{python}" "$@"',
}


@dataclass
class World:
    """One machine as a reader of the guides has it; `folder` is where he types."""

    home: Home
    folder: Path
    clients: list[KATOClient] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.home.gateway_port}"

    def text(self, block_id: str, **placeholders: str) -> str:
        """The block with this machine's ports, and `{name}` or `<name>` filled in."""
        text = re.sub(r"localhost:80[08]0", f"localhost:{self.home.gateway_port}", _of(block_id))
        text = PORT.sub(lambda found: str(self.port(int(found[0]))), text)
        for name, value in placeholders.items():
            text = text.replace(f"{{{name}}}", value).replace(f"<{name}>", value)
        return text

    def port(self, guides_port: int) -> int:
        return self.home.ports[guides_port % 1000]

    def shell(self, block_id: str, **placeholders: str) -> str:
        """Run a shell block, every command of which has to succeed; what it printed."""
        return self.run(self.text(block_id, **placeholders))

    def run(self, text: str, **environ: str) -> str:
        done = subprocess.run(
            ["bash", "-e", "-u", "-o", "pipefail", "-c", text],
            cwd=self.folder,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @property
    def environ(self) -> dict[str, str]:
        path = os.pathsep.join((str(self.folder / "bin"), os.environ["PATH"]))
        own = {"PATH": path, "PYTHONPATH": str(guides.path()), "USER": "user", "KATO_URL": self.url}
        return {**self.home.environ, **own}

    async def python(self, block_id: str, names: dict[str, Any]) -> dict[str, Any]:
        """Run a Python block over these names, which it may add to; `await` may stand anywhere."""
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(self.text(block_id), block_id, "exec", flags=flags, dont_inherit=True)
        result = eval(code, names)  # noqa: S307 - the guide's own text
        if inspect.isawaitable(result):
            await result
        return names

    @property
    def client(self) -> type[KATOClient]:
        """The guide's `KATOClient`, whose port is this machine's."""
        url, clients = self.url, self.clients

        class Client(KATOClient):
            def __init__(self, base_url: str = url, **options: Any) -> None:
                super().__init__(base_url, **options)
                clients.append(self)

        return Client


def _of(block_id: str) -> str:
    return BLOCKS[block_id].text


def make_world(home: Home, folder: Path) -> World:
    (folder / "bin").mkdir(parents=True)
    (folder / "scripts").symlink_to(guides.path() / "scripts")
    values = {"kato": KATO, "python": sys.executable, "curl": shutil.which("curl") or "curl"}
    for name, text in COMMANDS.items():
        file = folder / "bin" / name
        script = f"#!/usr/bin/env bash\n{text}\n"
        for word, value in values.items():
            script = script.replace(f"{{{word}}}", value)
        file.write_text(script)
        file.chmod(0o755)
    for script in ("start.sh", "kato-manager.sh"):
        (folder / script).symlink_to(folder / "bin" / script)
    return World(home=home, folder=folder)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Nothing runs on it yet."""
    folder = tmp_path_factory.mktemp("machine")
    with new_home(folder) as home:
        yield make_world(home, folder / "here")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A gateway and one processor run on it."""
    folder = tmp_path_factory.mktemp("world")
    with new_home(folder) as home:
        made = make_world(home, folder / "here")
        started = home.kato("start", "--id", "main")
        assert started.code == 0, started.err
        wait_until(lambda: get(home.gateway_port, "/sessions/count"))
        yield made


@pytest.fixture(autouse=True)
def _no_client_left_open(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "world" in request.fixturenames:
        clients = request.getfixturevalue("world").clients
        while clients:
            clients.pop().close()


@pytest.fixture
def elsewhere(world: World, tmp_path: Path) -> World:
    """The same machine, typed at in an empty folder."""
    return make_world(world.home, tmp_path / "here")


@pytest.fixture(scope="session")
def redis_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    server, client = shutil.which("redis-server"), shutil.which("redis-cli")
    if not server or not client:
        pytest.skip("no redis-server or no redis-cli on this machine")
    folder = tmp_path_factory.mktemp("redis")
    socket = folder / "redis.sock"
    words = [server, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        wait_until(socket.exists)
        yield socket
    finally:
        process.terminate()
        process.wait(10)
