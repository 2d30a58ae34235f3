"""Calls of a session pass through control as they come, both ways, and are waited for."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
import pytest

from gateway.servers import DEADLINE_S, RawServer, read_all, read_head, read_response, recorded
from homes import Home, get, new_home, wait_until
from kato_manager.gateway.drain import drain
from kato_manager.model import Status, touched
from kato_manager.registry import Registry

MEGABYTE = 1 << 20
HELD_BYTES = 40 * MEGABYTE  # more than all sockets and buffers between both ends
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass
class Stage:
    """A gateway whose one instance plays `scene` for whatever is asked of the session `s`."""

    home: Home
    scene: Callable[[socket.socket, bytes], None] = field(init=False)

    def play(self, connection: socket.socket) -> None:
        while head := read_head(connection):
            if head.startswith(b"POST /sessions "):
                self._made(connection, head)
            elif b" /sessions/" in head.partition(b"\r\n")[0]:
                self.scene(connection, head)
            else:
                connection.sendall(OK)

    def _made(self, connection: socket.socket, head: bytes) -> None:
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        wanted = b""
        while len(wanted) < length:
            wanted += connection.recv(length)
        said = json.dumps({"session_id": "s", "node_id": "n", "ttl": 3600}).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.home.gateway_port), DEADLINE_S)

    def ask(self, connection: socket.socket, line: str, *lines: str) -> None:
        head = "\r\n".join([f"{line} HTTP/1.1", "Host: localhost", *lines, "", ""])
        connection.sendall(head.encode())


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Iterator[Stage]:
    with new_home(tmp_path_factory.mktemp("stage")) as home:
        stage = Stage(home)
        server = RawServer(stage.play)
        with Registry(home.path).edit() as instances:
            instances["a"] = recorded("a", server.server_port, labels={"kato.sessions": "yes"})
        assert home.kato("gateway", "up").code == 0
        wait_until(lambda: get(home.gateway_port, "/sessions/count"))
        httpx.post(f"http://127.0.0.1:{home.gateway_port}/sessions", json={"node_id": "n"})
        yield stage
        server.close()


@pytest.fixture
def stage(whole: Stage) -> Stage:
    return whole


def test_events_arrive_one_by_one(stage: Stage) -> None:
    was_read = threading.Event()

    def scene(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(EVENTS + b"9\r\ndata: 1\n\n\r\n")
        assert was_read.wait(DEADLINE_S)
        connection.sendall(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    stage.scene = scene
    url = f"http://127.0.0.1:{stage.home.gateway_port}/sessions/s/events"

    with httpx.stream("GET", url, timeout=DEADLINE_S) as answer:
        parts = answer.iter_raw()
        first = next(parts)
        was_read.set()
        rest = b"".join(parts)

    assert (first, rest) == (b"data: 1\n\n", b"data: 2\n\n")
    assert answer.headers["content-type"] == "text/event-stream"


def test_a_slow_client_stops_a_fast_instance(stage: Stage) -> None:
    sent_bytes = 0
    stopped = threading.Event()

    def scene(connection: socket.socket, _head: bytes) -> None:
        nonlocal sent_bytes
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (HELD_BYTES * 2))
        connection.settimeout(1)
        with suppress(TimeoutError):
            while sent_bytes < HELD_BYTES:
                sent_bytes += connection.send(b"x" * MEGABYTE)
        stopped.set()
        connection.settimeout(DEADLINE_S)
        while sent_bytes < HELD_BYTES * 2:
            sent_bytes += connection.send(b"x" * min(MEGABYTE, HELD_BYTES * 2 - sent_bytes))

    stage.scene = scene

    with stage.connect() as connection:
        stage.ask(connection, "GET /sessions/s/large")
        assert stopped.wait(DEADLINE_S)
        assert sent_bytes < HELD_BYTES
        assert len(read_response(connection)[2]) == HELD_BYTES * 2


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_slow_instance_stops_a_fast_client(stage: Stage, framing: str) -> None:
    go_on = threading.Event()
    got = []

    def scene(connection: socket.socket, head: bytes) -> None:
        assert go_on.wait(DEADLINE_S)
        if b"content-length" in head.lower():
            left = HELD_BYTES
            while left:
                left -= len(connection.recv(min(left, MEGABYTE)))
            got.append(HELD_BYTES)
        else:
            body = b""
            while not body.endswith(b"0\r\n\r\n"):
                body = body[-8:] + connection.recv(MEGABYTE)
                got.append(len(body))
        connection.sendall(OK)

    stage.scene = scene
    part = b"x" * MEGABYTE
    is_chunked = framing == "chunked"

    with stage.connect() as connection:
        line = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {HELD_BYTES}"
        stage.ask(connection, "POST /sessions/s/observe", line)
        connection.settimeout(1)
        rest = b"".join([b"100000\r\n%b\r\n" % part if is_chunked else part] * 40)
        rest = memoryview(rest + (b"0\r\n\r\n" if is_chunked else b""))
        with suppress(TimeoutError):
            while rest:
                rest = rest[connection.send(rest) :]
        assert rest
        go_on.set()
        connection.settimeout(DEADLINE_S)
        connection.sendall(rest)
        assert read_response(connection)[2] == b"ok"
    assert sum(got) >= HELD_BYTES


@pytest.mark.parametrize("answer", [b"", EVENTS + b"2\r\nhi\r\n"], ids=["waiting", "reading"])
def test_a_client_that_leaves_cancels_its_call(stage: Stage, answer: bytes) -> None:
    began, left = threading.Event(), threading.Event()

    def scene(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(answer)
        began.set()
        with suppress(ConnectionError):
            read_all(connection)
        left.set()

    stage.scene = scene

    with stage.connect() as connection:
        stage.ask(connection, "GET /sessions/s/events")
        assert began.wait(DEADLINE_S)
        if answer:
            assert connection.recv(1)

    assert left.wait(DEADLINE_S)


def test_a_broken_off_answer_does_not_look_complete(stage: Stage) -> None:
    def scene(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(EVENTS + b"2\r\nhi\r\n")
        connection.shutdown(socket.SHUT_RDWR)

    stage.scene = scene

    with stage.connect() as connection:
        stage.ask(connection, "GET /sessions/s/events")
        said = read_all(connection)

    assert said.startswith(b"HTTP/1.1 200 ")
    assert not said.endswith(b"0\r\n\r\n")


def test_an_early_answer_arrives(stage: Stage) -> None:
    def scene(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()

    stage.scene = scene

    with stage.connect() as connection:
        stage.ask(connection, "POST /sessions/s/observe", f"Content-Length: {HELD_BYTES}")
        with suppress(OSError):
            for _ in range(HELD_BYTES // MEGABYTE):
                connection.sendall(b"x" * MEGABYTE)
        status, _, body = read_response(connection)

    assert (status, body) == (413, b"big")


def test_draining_waits_for_what_is_in_flight(stage: Stage) -> None:
    began, go_on = threading.Event(), threading.Event()

    def scene(connection: socket.socket, _head: bytes) -> None:
        began.set()
        assert go_on.wait(DEADLINE_S)
        connection.sendall(OK)

    stage.scene = scene
    registry = Registry(stage.home.path)

    with stage.connect() as connection:
        stage.ask(connection, "GET /sessions/s/predictions")
        assert began.wait(DEADLINE_S)
        with registry.edit() as instances:
            running = instances["a"]
            instances["a"] = touched(running, status=Status.STOPPING)
        try:
            assert not drain(stage.home.path, "a", 0.2)
            refused = httpx.get(f"http://127.0.0.1:{stage.home.gateway_port}/sessions/s/stm")
            go_on.set()
            assert drain(stage.home.path, "a", DEADLINE_S)
            assert read_response(connection)[2] == b"ok"
        finally:
            with registry.edit() as instances:
                instances["a"] = running

    assert (refused.status_code, refused.json()["code"]) == (503, "instance_not_running")


def test_a_body_too_large_for_the_history_leaves_its_size(stage: Stage) -> None:
    def scene(connection: socket.socket, _head: bytes) -> None:
        left = 5 * MEGABYTE
        while left:
            left -= len(connection.recv(left))
        connection.sendall(OK)

    stage.scene = scene
    url = f"http://127.0.0.1:{stage.home.gateway_port}/sessions/s"

    said = httpx.post(f"{url}/observe", content=b"x" * 5 * MEGABYTE, timeout=DEADLINE_S)
    (item,) = httpx.get(f"{url}/history?limit=1").json()["items"]

    assert (said.status_code, item["status"], item["content"]) == (200, 200, None)
    assert item["data"] == {"operation": "observe", "method": "POST", "size_bytes": 5 * MEGABYTE}
