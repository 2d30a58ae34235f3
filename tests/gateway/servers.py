"""Real servers for the gateway's tests: instances that answer, and a front in a thread."""

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import uvloop

from kato_manager.gateway.access_log import AccessLog
from kato_manager.gateway.counters import Counters
from kato_manager.gateway.front import Front
from kato_manager.gateway.health import Unhealthy
from kato_manager.gateway.limits import Limits
from kato_manager.gateway.routes import Routes
from kato_manager.gateway.security import Security
from kato_manager.model import Instance, InstanceSpec, Status
from kato_manager.registry import Registry

DEADLINE_S = 10.0


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "EchoServer"

    def _answer(self) -> None:
        body = self._body()
        target = self.requestline.split()[1]  # self.path has lost slashes
        self.server.requests.append((self.command, target, body))
        said = {
            "instance": self.server.name,
            "method": self.command,
            "path": target,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": body.decode("latin-1"),
        }
        answer = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("X-Instance", self.server.name)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline() != b"\r\n":
            pass
        return b"".join(parts)

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with suppress(ConnectionError, ValueError):
            super().handle()


class EchoServer(ThreadingHTTPServer):
    """An instance that says what it was asked, and who it is."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, name: str = "a") -> None:
        super().__init__(("127.0.0.1", 0), _Echo)
        self.name = name
        self.requests: list[tuple[str, str, bytes]] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join(DEADLINE_S)


class RawServer:
    """An instance whose every connection is played by `script`, in a thread of its own."""

    def __init__(self, script: Callable[[socket.socket], None]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.server_port = self._listener.getsockname()[1]
        self.connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.settimeout(DEADLINE_S)
                self.connections.append(connection)
                thread = threading.Thread(target=self._play, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _play(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self._script(connection)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(DEADLINE_S)
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(DEADLINE_S)


def read_head(connection: socket.socket) -> bytes:
    """Up to the empty line, not beyond; nothing when the connection ended."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            return b""
        head += byte
    return head


def read_until(connection: socket.socket, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        part = connection.recv(65536)
        if not part:
            raise AssertionError(f"ended after {data[-200:]!r}")
        data += part
    return data


def read_all(connection: socket.socket) -> bytes:
    data = b""
    while part := connection.recv(1 << 20):
        data += part
    return data


class FrontThread:
    """A front worker in a thread, with a registry of its own."""

    def __init__(self, home: Path, limits: Limits | None = None) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.registry = Registry(home)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.limits = limits or Limits(drain_s=0.5)
        self.front: Front
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(DEADLINE_S)

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            self._stop = asyncio.Event()
            folder = self.home / "gateway"
            folder.mkdir()
            self.front = Front(
                routes=Routes(self.registry),
                control_path=folder / "control.sock",
                counters=Counters(folder / "counters" / "0.counters"),
                log=AccessLog(folder / "access.log"),
                identity="this-home",
                limits=self.limits,
                security=Security(),
                unhealthy=Unhealthy(self.home),
                loop=self._loop,
            )
            self._started.set()
            await self.front.serve(self.listener, self._stop, is_orphan=lambda: False)

        uvloop.run(serve())

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def record(self, instance_id: str, port: int, **values: object) -> None:
        """Put an instance into the registry, running unless said otherwise."""
        with self.registry.edit() as instances:
            instances[instance_id] = recorded(instance_id, port, **values)

    def forget(self, instance_id: str) -> None:
        with self.registry.edit() as instances:
            del instances[instance_id]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), DEADLINE_S)

    def ask(self, raw: bytes, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """Send bytes, read one response."""
        with self.connect() as connection:
            connection.sendall(raw)
            return read_response(connection, method)

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        host = "" if "Host" in headers else "Host: localhost\r\n"
        return self.ask(f"GET {path} HTTP/1.1\r\n{host}{lines}\r\n".encode())


def read_response(
    connection: socket.socket, method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    response = http.client.HTTPResponse(connection, method=method)
    response.begin()
    body = response.read()
    headers = {name.lower(): value for name, value in response.getheaders()}
    response.close()
    return response.status, headers, body


def recorded(instance_id: str, port: int, **values: object) -> Instance:
    now = datetime.now(UTC)
    own = {name: values.pop(name) for name in ("status", "reason") if name in values}
    return Instance(
        spec=InstanceSpec(id=instance_id, **values),
        port=port,
        created_at=now,
        updated_at=now,
        **{"status": Status.RUNNING, **own},
    )
