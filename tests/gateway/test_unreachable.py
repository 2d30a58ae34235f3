"""An instance that takes no connections: who waits for it, and for how long."""

import socket
import threading
from contextlib import suppress

import pytest

from gateway.servers import DEADLINE_S, FrontThread, read_head, read_response
from gateway.test_forward import GET, OK, wait_until
from kato_manager.gateway import counters
from kato_manager.gateway.limits import Limits

CONNECT_S = 0.8


@pytest.fixture
def front(tmp_path):
    thread = FrontThread(tmp_path / "home", Limits(connect_s=CONNECT_S, drain_s=0.5))
    yield thread
    thread.close()


@pytest.fixture
def deaf(front):
    """The listener of instance `a`, and the clients that fill its queue."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    queued = []
    with suppress(TimeoutError):
        while True:
            queued.append(socket.create_connection(listener.getsockname(), 0.2))
    front.record("a", listener.getsockname()[1])
    yield listener, queued
    for client in queued:
        client.close()
    listener.close()


def test_one_request_tries_while_others_are_told_at_once(front: FrontThread, deaf) -> None:
    assert front.get("/a/x")[0] == 502  # nobody knew

    with front.connect() as trying, front.connect() as told:
        trying.sendall(GET)
        wait_until(lambda: counters.read(front.home / "gateway" / "counters")["a"].in_flight)
        told.settimeout(CONNECT_S / 2)
        told.sendall(GET)
        status, headers, body = read_response(told)

        assert (status, headers["retry-after"]) == (502, "1")
        assert b"it accepts no connection" in body
        trying.setblocking(False)
        with pytest.raises(BlockingIOError):
            trying.recv(1)


def test_it_is_asked_again_as_soon_as_it_listens(front: FrontThread, deaf) -> None:
    listener, queued = deaf
    assert front.get("/a/x")[0] == 502
    for client in queued:
        client.close()

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            connection.settimeout(DEADLINE_S)
            with connection, suppress(OSError):
                if read_head(connection):
                    connection.sendall(OK)
                    return

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    wait_until(lambda: front.get("/a/x")[0] == 200)
    server.join(DEADLINE_S)


def test_a_control_process_that_begins_late_is_waited_for(front: FrontThread) -> None:
    with front.connect() as connection, socket.socket(socket.AF_UNIX) as control:
        connection.sendall(
            b"POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        )
        connection.settimeout(CONNECT_S * 2)
        with pytest.raises(TimeoutError):
            connection.recv(1)

        control.bind(str(front.home / "gateway" / "control.sock"))
        control.listen()
        asked, _ = control.accept()
        with asked:
            read_head(asked)
            asked.sendall(OK)
            connection.settimeout(DEADLINE_S)
            assert read_response(connection)[0] == 200
