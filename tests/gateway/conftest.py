from collections.abc import Callable, Iterator

import pytest

from gateway.servers import EchoServer, FrontThread, RawServer


@pytest.fixture
def front(tmp_path) -> Iterator[FrontThread]:
    thread = FrontThread(tmp_path / "home")
    yield thread
    thread.close()


@pytest.fixture
def echo(front) -> Iterator[EchoServer]:
    """Instance `a`, which says what it was asked."""
    server = EchoServer("a")
    front.record("a", server.server_port)
    yield server
    server.close()


@pytest.fixture
def play(front) -> Iterator[Callable[..., RawServer]]:
    """Make instance `a` of a script for one connection."""
    servers: list[RawServer] = []

    def start(script, instance_id="a", **values) -> RawServer:
        server = RawServer(script)
        servers.append(server)
        front.record(instance_id, server.server_port, **values)
        return server

    yield start
    for server in servers:
        server.close()
