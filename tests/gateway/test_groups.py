"""A group behind a real front."""

import socket
from collections import Counter

from gateway.servers import EchoServer, FrontThread
from kato_manager.gateway import health
from kato_manager.model import Status


def test_members_share_and_a_dead_one_is_passed_over(front: FrontThread) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead_port = listener.getsockname()[1]
    servers = [EchoServer(name) for name in ("m1", "m2")]
    try:
        for server in servers:
            front.record(server.name, server.server_port, group="g")
        front.record("m3", dead_port, group="g")
        front.record("m4", dead_port, group="g", status=Status.STOPPED)

        answers = [front.get("/g/x") for _ in range(30)]
        posted = front.ask(b"POST /g/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi")
    finally:
        for server in servers:
            server.close()

    assert {status for status, _, _ in answers} == {200}
    shares = Counter(headers["x-instance"] for _, headers, _ in answers)
    assert set(shares) == {"m1", "m2"}
    assert min(shares.values()) >= 10
    assert posted[0] == 200


def test_a_member_that_is_not_well_is_spared_while_others_are(front: FrontThread) -> None:
    servers = [EchoServer(name) for name in ("m1", "m2")]
    try:
        for server in servers:
            front.record(server.name, server.server_port, group="g")
        health.path(front.home).write_text('{"m1": "GET /health answered 500"}')
        spared = {front.get("/g/x")[1]["x-instance"] for _ in range(10)}
        health.path(front.home).write_text('{"m1": "", "m2": ""}')
        all_ill = {front.get("/g/x")[1]["x-instance"] for _ in range(10)}
    finally:
        for server in servers:
            server.close()

    assert spared == {"m2"}
    assert all_ill == {"m1", "m2"}


def test_a_group_without_a_member_that_runs_is_503(front: FrontThread) -> None:
    front.record("m1", 1, group="g", status=Status.STOPPED)

    status, headers, body = front.get("/g/x")

    assert (status, headers["retry-after"]) == (503, "1")
    assert b"no instance of group 'g' takes requests" in body
