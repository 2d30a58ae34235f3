"""A processor served over real HTTP, in a thread of the test process."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from kato_processor import serve
from kato_processor.api.app import create_app
from kato_processor.environment import from_environment


class Client:
    """One keep-alive connection; answers are (status, body)."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
        self._connection.request(
            method, path, content, {"Content-Type": "application/json", **(headers or {})}
        )
        response = self._connection.getresponse()
        text = response.read()
        self.headers = response.headers
        if response.headers.get_content_type() != "application/json":
            return response.status, text.decode()
        return response.status, json.loads(text)

    def get(self, path: str, **more: Any) -> Any:
        return self._good("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> Any:
        return self._good("POST", path, body, **more)

    def _good(self, *request: Any, **more: Any) -> Any:
        status, body = self.send(*request, **more)
        assert status == 200, (request, status, body)
        return body

    def session(self, node_id: str = "node", **more: Any) -> str:
        created = self.post("/sessions", {"node_id": node_id, **more})
        return f"/sessions/{created['session_id']}"

    def close(self) -> None:
        self._connection.close()


class Server:
    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        settings = from_environment({"KATO_DATA_DIR": str(folder), **environ})
        self.app = create_app(settings)
        listener = serve.listening_socket(host="127.0.0.1", port=0, fd=None)
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(self.app, lifespan="on", log_level="warning", access_log=False)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._server.serve(sockets=[listener]))
        )
        self._listener = listener

    def start(self) -> None:
        self._listener.listen()
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=20)
        self._listener.close()
        assert not self._thread.is_alive()


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Any]:
    """Start servers with other settings; all are stopped at the end."""
    servers: list[Server] = []

    def start(folder: Path | None = None, **environ: str) -> Server:
        server = Server(folder or tmp_path / "data", environ)
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("processor"), {"KATO_INSTANCE_ID": "under-test"})
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(shared_server: Server) -> Iterator[Client]:
    """A client of a server that the tests of a module share; use nodes of your own."""
    client = Client(shared_server.port)
    yield client
    client.close()
