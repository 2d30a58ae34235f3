"""How bodies, connections and failures pass through a front."""

import hashlib
import json
import socket
import threading
import time
from contextlib import suppress

import pytest

from gateway.servers import (
    DEADLINE_S,
    EchoServer,
    FrontThread,
    RawServer,
    read_all,
    read_head,
    read_response,
    read_until,
)
from kato_manager.gateway.limits import Limits
from kato_manager.model import Status

GET = b"GET /a/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MEGABYTE = 1 << 20


def wait_until(holds, what: str = "the condition") -> None:
    until = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < until, f"{what} did not come true"
        time.sleep(0.005)


def answering(answer: bytes):
    def script(connection: socket.socket) -> None:
        while read_head(connection):
            connection.sendall(answer)

    return script


def closing(answer: bytes):
    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(answer)

    return script


def test_headers_name_the_client_and_the_prefix(front: FrontThread, echo: EchoServer) -> None:
    _, headers, body = front.get(
        "/a/x",
        X_Forwarded_For="203.0.113.9",
        X_Forwarded_Proto="https",
        X_Forwarded_Host="evil.example",
        X_Request_Id="mine-1",
        X_Forwarded_Prefix="/evil",
        Connection="keep-alive, X-Hop",
        X_Hop="1",
        Keep_Alive="5",
        Accept="*/*",
        X_Forwarded__For="spoofed",
        Proxy_Authorization="x",
    )

    assert json.loads(body)["headers"] == {
        "host": "localhost",
        "accept": "*/*",
        "via": "1.1 kato",
        "x-forwarded--for": "spoofed",
        "x-forwarded-for": "203.0.113.9, 127.0.0.1",
        "x-forwarded-proto": "http",
        "x-forwarded-host": "localhost",
        "x-forwarded-prefix": "/a",
        "x-request-id": "mine-1",
    }
    assert headers["x-request-id"] == "mine-1"


def test_a_name_with_underscores_cannot_pose_as_ours(front: FrontThread, echo: EchoServer) -> None:
    raw = GET[:-2] + b"X_Forwarded_For: 203.0.113.9\r\nContent_Length: 3\r\nmy_own: 1\r\n\r\n"

    _, _, body = front.ask(raw)

    headers = json.loads(body)["headers"]
    assert "x_forwarded_for" not in headers
    assert "content_length" not in headers
    assert headers["my_own"] == "1"


def test_a_kept_prefix_reaches_the_instance(front: FrontThread, echo: EchoServer) -> None:
    front.record("a", echo.server_port, prefix="keep")

    _, _, body = front.get("/a/x?y=%2F")

    said = json.loads(body)
    assert said["path"] == "/a/x?y=%2F"
    assert "x-forwarded-prefix" not in said["headers"]


def test_head_is_answered_without_a_body_and_keeps_the_connection(front, echo) -> None:
    with front.connect() as connection:
        connection.sendall(GET.replace(b"GET", b"HEAD"))
        head = read_head(connection)
        connection.sendall(GET)
        status, _, body = read_response(connection)

    assert b"Content-Length: " in head
    assert status == 200
    assert json.loads(body)["method"] == "GET"


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_body_keeps_the_connection(front, play, status: int) -> None:
    play(answering(b"HTTP/1.1 %d Fine\r\nETag: x\r\n\r\n" % status))

    with front.connect() as connection:
        for _ in range(2):
            connection.sendall(GET)
            answered, headers, body = read_response(connection)
            assert (answered, headers["etag"], body) == (status, "x", b"")


def test_the_status_line_and_headers_pass_as_they_are(front, play) -> None:
    play(
        answering(
            b"HTTP/1.1 299 Rather Odd\r\nX-A: 1\r\nx-a:  2 \r\nConnection: X-Hop, keep-alive\r\n"
            b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
            b"X-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n"
        )
    )

    with front.connect() as connection:
        connection.sendall(GET.replace(b"\r\n\r\n", b"\r\nX-Request-Id: r\r\n\r\n"))
        head = read_head(connection)

    assert head == (
        b"HTTP/1.1 299 Rather Odd\r\nX-A: 1\r\nx-a: 2\r\n"
        b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 0\r\nX-Request-Id: r\r\n\r\n"
    )


def test_interim_responses_come_before_the_final_one(front, play) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x.css>\r\n\r\n"
    play(answering(hints + b"HTTP/1.1 102 Processing\r\n\r\n" + OK))

    with front.connect() as connection:
        connection.sendall(GET)
        stream = read_until(connection, b"ok")

    assert stream.startswith(hints + b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_a_client_that_expects_100_continue_gets_the_one_of_the_instance(front, play) -> None:
    def script(connection: socket.socket) -> None:
        assert b"\r\nExpect: 100-continue\r\n" in read_head(connection)
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert read_until(connection, b"hello") == b"hello"
        connection.sendall(OK)

    play(script)

    with front.connect() as connection:
        connection.sendall(
            b"POST /a/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert read_until(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"hello")
        assert read_response(connection)[2] == b"ok"


def test_an_early_answer_arrives_though_the_body_is_not_read(front, play) -> None:
    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        read_all(connection)

    play(script)

    with front.connect() as connection:
        connection.sendall(
            b"POST /a/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000000\r\n\r\n"
        )
        with suppress(OSError):
            for _ in range(4):
                connection.sendall(b"x" * MEGABYTE)
        status, headers, body = read_response(connection)

    assert (status, headers["connection"], body) == (413, "close", b"big")


def test_chunks_and_trailers_pass_to_the_client(front, play) -> None:
    body = b"2\r\nhi\r\n3;x=y\r\n yo\r\n0\r\nX-Sum: 1\r\n\r\n"
    play(answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body))

    with front.connect() as connection:
        for _ in range(2):
            connection.sendall(GET)
            stream = read_until(connection, b"0\r\nX-Sum: 1\r\n\r\n")
            assert stream.endswith(b"\r\n\r\n" + body)


def test_chunks_of_the_client_are_framed_anew(front, play) -> None:
    seen = []

    def script(connection: socket.socket) -> None:
        read_head(connection)
        seen.append(read_until(connection, b"\r\n\r\n"))
        connection.sendall(OK)

    play(script)

    front.ask(
        b"POST /a/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'005;ext="a;b"\r\nhello\r\n0000\r\nX-Sum: 1\r\nHost: b\r\n\r\n'
    )

    assert seen == [b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"]


def test_an_old_client_gets_chunks_as_one_body(front, play) -> None:
    play(
        answering(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n"
        )
    )

    with front.connect() as connection:
        connection.sendall(b"GET /a/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        head, _, body = read_all(connection).partition(b"\r\n\r\n")

    assert body == b"hi!"
    assert b"Connection: close" in head
    assert b"chunked" not in head


def test_an_old_client_may_keep_its_connection(front, echo) -> None:
    with front.connect() as connection:
        for _ in range(2):
            connection.sendall(b"GET /a/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            status, headers, _ = read_response(connection)
            assert (status, headers["connection"]) == (200, "keep-alive")


def test_a_body_until_the_end_is_chunked_for_the_client(front, play) -> None:
    play(closing(b"HTTP/1.0 200 OK\r\n\r\nall of it"))

    with front.connect() as connection:
        for _ in range(2):
            connection.sendall(GET)
            status, headers, body = read_response(connection)
            assert (status, headers["transfer-encoding"], body) == (200, "chunked", b"all of it")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\nx\r\n",
    ],
)
def test_a_broken_off_answer_does_not_look_complete(front, play, answer: bytes) -> None:
    play(closing(answer))

    with front.connect() as connection:
        connection.sendall(GET)
        stream = read_all(connection)

    assert not stream.endswith(b"0\r\n\r\n")
    assert stream.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX : 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_502(front, play, answer: bytes) -> None:
    play(closing(answer))

    status, _, body = front.get("/a/x")

    assert status == 502
    assert json.loads(body)["code"] == "instance_unreachable"
    assert json.loads(body)["instance"] == "a"


def test_bytes_after_an_answer_never_reach_the_next_request(front, play) -> None:
    server = play(answering(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"))

    with front.connect() as connection:
        for _ in range(2):
            connection.sendall(GET)
            assert read_response(connection)[2] == b"ok"

    assert len(server.connections) == 2


def test_pipelined_requests_share_a_connection_that_answers_in_one_piece(front, play) -> None:
    server = play(answering(OK))

    with front.connect() as connection:
        connection.sendall(GET * 5)
        stream = b""
        while stream.count(b"\r\n\r\nok") < 5:
            stream += read_until(connection, b"ok")

    assert stream.count(b"HTTP/1.1 200 OK\r\n") == 5
    assert len(server.connections) == 1


def test_connections_to_an_instance_are_kept(front, play) -> None:
    server = play(answering(OK))

    for _ in range(5):
        assert front.get("/a/x")[0] == 200

    assert len(server.connections) == 1


def test_a_safe_request_is_sent_again_when_a_kept_connection_had_died(front, play) -> None:
    asked = []

    def script(connection: socket.socket) -> None:
        read_head(connection)
        asked.append("answered")
        connection.sendall(OK)
        if len(server.connections) == 1 and read_head(connection):
            asked.append("dropped")
            return
        if read_head(connection):
            connection.sendall(OK)

    server = play(script)
    assert front.get("/a/x")[0] == 200

    assert front.get("/a/x")[0] == 200
    assert asked == ["answered", "dropped", "answered"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_a_request_that_may_have_worked_is_never_sent_again(front, play, method: str) -> None:
    heads = []

    def script(connection: socket.socket) -> None:
        heads.append(read_head(connection))

    play(script)

    status, _, _ = front.ask(f"{method} /a/x HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    assert status == 502
    assert len(heads) == 1


def test_a_safe_request_is_sent_twice_at_most(front, play) -> None:
    heads = []

    def script(connection: socket.socket) -> None:
        heads.append(read_head(connection))

    play(script)

    assert front.get("/a/x")[0] == 502
    assert len(heads) == 2


def test_nobody_listening_is_502_with_the_reason(front) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    front.record("a", port)

    status, headers, body = front.get("/a/x")

    assert (status, headers["retry-after"]) == (502, "1")
    said = json.loads(body)
    assert said["detail"] == "instance 'a' did not answer: no connection to it: connection refused"
    assert said["error"] == {"code": "INSTANCE_UNREACHABLE", "message": said["detail"]}


def test_scenario_23_a_client_that_leaves_cancels_its_request(front, play) -> None:
    left = threading.Event()
    began = threading.Event()

    def script(connection: socket.socket) -> None:
        read_head(connection)
        began.set()
        if connection.recv(1) == b"":
            left.set()

    play(script)

    with front.connect() as connection:
        connection.sendall(GET)
        assert began.wait(DEADLINE_S)
    assert left.wait(DEADLINE_S)


def test_scenario_23_a_client_that_leaves_ends_its_stream(front, play) -> None:
    left = threading.Event()

    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        try:
            while True:
                connection.sendall(b"data: tick\n\n")
                time.sleep(0.01)
        except OSError:
            left.set()

    play(script)

    with front.connect() as connection:
        connection.sendall(GET)
        read_head(connection)
    assert left.wait(DEADLINE_S)


def test_scenario_23_half_of_a_connection_may_close_before_a_slow_answer(front, play) -> None:
    may_answer = threading.Event()

    def script(connection: socket.socket) -> None:
        read_head(connection)
        assert may_answer.wait(DEADLINE_S)
        connection.sendall(OK)

    play(script)

    with front.connect() as connection:
        connection.sendall(GET)
        connection.shutdown(socket.SHUT_WR)
        assert read_until(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        may_answer.set()
        assert read_all(connection).endswith(b"ok")


def test_events_pass_without_delay(front, play) -> None:
    seen = threading.Semaphore(0)

    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for number in range(3):
            connection.sendall(b"data: %d\n\n" % number)
            assert seen.acquire(timeout=DEADLINE_S), "the event did not come before the next"

    play(script)

    with front.connect() as connection:
        connection.sendall(GET)
        read_head(connection)
        for number in range(3):
            assert b"data: %d\n\n" % number in read_until(connection, b"\n\n\r\n")
            seen.release()
        assert read_until(connection, b"0\r\n\r\n") == b"0\r\n\r\n"


def large(size: int) -> tuple[bytes, str]:
    block = bytes(range(256)) * 4096
    sha = hashlib.sha256()
    for _ in range(size // len(block)):
        sha.update(block)
    return block, sha.hexdigest()


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_100_megabytes_pass_both_ways(front, play, framing: str) -> None:  # noqa: C901
    size = 100 * MEGABYTE
    block, digest = large(size)

    def script(connection: socket.socket) -> None:
        read_head(connection)
        left = size
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        if framing == "chunked":
            reader = connection.makefile("rb")
            while count := int(reader.readline(), 16):
                connection.sendall(reader.read(count))
                reader.readline()
            return
        while left:
            part = connection.recv(min(left, MEGABYTE))
            left -= len(part)
            connection.sendall(part)

    play(script)

    def upload(connection: socket.socket) -> None:
        for _ in range(size // len(block)):
            if framing == "chunked":
                connection.sendall(b"%x\r\n" % len(block) + block + b"\r\n")
            else:
                connection.sendall(block)
        if framing == "chunked":
            connection.sendall(b"0\r\n\r\n")

    with front.connect() as connection:
        length = (
            b"Transfer-Encoding: chunked" if framing == "chunked" else b"Content-Length: %d" % size
        )
        connection.sendall(b"POST /a/ HTTP/1.1\r\nHost: localhost\r\n" + length + b"\r\n\r\n")
        thread = threading.Thread(target=upload, args=(connection,))
        thread.start()
        reader = connection.makefile("rb")
        while reader.readline() != b"\r\n":
            pass
        sha = hashlib.sha256()
        left = size
        while left:
            part = reader.read(min(left, MEGABYTE))
            assert part, f"{left} bytes are missing"
            sha.update(part)
            left -= len(part)
        thread.join(DEADLINE_S)

    assert sha.hexdigest() == digest


def test_a_slow_client_stops_a_fast_instance(front, play) -> None:
    """Back-pressure: what the client does not take stays with the instance."""
    sent = []

    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        connection.settimeout(0.5)
        with suppress(TimeoutError):
            while sum(sent) < 1_000_000_000:
                sent.append(connection.send(b"x" * MEGABYTE))

    server = play(script)

    with front.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(GET)
        read_head(connection)
        wait_until(lambda: server._threads[0].is_alive() is False, "the instance being held")

    assert sum(sent) < 40 * MEGABYTE


def test_a_slow_instance_stops_a_fast_client(front, play) -> None:
    done = threading.Event()

    def script(connection: socket.socket) -> None:
        read_head(connection)
        done.wait(DEADLINE_S)

    play(script)
    sent = 0

    with front.connect() as connection:
        connection.sendall(
            b"POST /a/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"
        )
        connection.settimeout(0.5)
        with suppress(TimeoutError):
            while sent < 1_000_000_000:
                sent += connection.send(b"x" * MEGABYTE)
        done.set()

    assert sent < 40 * MEGABYTE


UPGRADE = (
    b"GET /a/ws?x=1 HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


def test_an_upgraded_connection_is_a_tunnel(front, play) -> None:
    heads = []

    def script(connection: socket.socket) -> None:
        heads.append(read_head(connection))
        connection.sendall(SWITCHING + b"\x81\x02hi")
        while data := connection.recv(65536):
            connection.sendall(data[::-1])
        connection.sendall(b"bye")

    play(script)

    with front.connect() as connection:
        connection.sendall(UPGRADE + b"early")
        assert read_until(connection, b"ylrae").endswith(b"\r\n\r\n\x81\x02hiylrae")
        connection.sendall(b"abc")
        assert read_until(connection, b"cba") == b"cba"
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b"bye"

    assert heads[0].startswith(b"GET /ws?x=1 HTTP/1.1\r\n")
    assert b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" in heads[0]
    assert b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" in heads[0]


def test_a_refused_upgrade_is_an_ordinary_answer(front, play) -> None:
    play(answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"))

    with front.connect() as connection:
        connection.sendall(UPGRADE)
        assert read_response(connection)[0] == 403
        connection.sendall(GET)
        assert read_response(connection)[0] == 403


def test_h2c_is_not_passed_on(front, echo) -> None:
    _, _, body = front.get(
        "/a/x", Connection="Upgrade, HTTP2-Settings", Upgrade="h2c", HTTP2_Settings="AAMAAABk"
    )

    assert not {"upgrade", "http2-settings", "connection"} & set(json.loads(body)["headers"])


def test_an_open_websocket_counts_until_it_ends(front, play) -> None:
    from kato_manager.gateway import counters

    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(SWITCHING)
        connection.recv(1)

    play(script)
    folder = front.home / "gateway" / "counters"

    with front.connect() as connection:
        connection.sendall(UPGRADE)
        read_until(connection, b"\r\n\r\n")
        assert (counters.read(folder)["a"].websockets, counters.read(folder)["a"].in_flight) == (
            1,
            1,
        )
    wait_until(lambda: counters.read(folder)["a"].websockets == 0, "the websocket being gone")
    assert counters.read(folder)["a"].in_flight == 0


def test_location_and_cookies_get_the_prefix_back(front, play) -> None:
    play(
        answering(
            b"HTTP/1.1 302 Found\r\nLocation: /docs?x=1\r\nSet-Cookie: s=1; Path=/; HttpOnly\r\n"
            b"Set-Cookie: t=2; path=/app\r\nSet-Cookie: u=3\r\nContent-Length: 0\r\n\r\n"
        )
    )

    with front.connect() as connection:
        connection.sendall(GET)
        head = read_head(connection)

    assert b"\r\nLocation: /a/docs?x=1\r\n" in head
    assert b"\r\nSet-Cookie: s=1; Path=/a/; HttpOnly\r\n" in head
    assert b"\r\nSet-Cookie: t=2; path=/a/app\r\n" in head
    assert b"\r\nSet-Cookie: u=3\r\n" in head


def test_a_stopped_instance_is_404_at_once(front, echo) -> None:
    with front.connect() as connection:
        connection.sendall(GET)
        assert read_response(connection)[0] == 200
        front.forget("a")
        connection.sendall(GET)
        assert read_response(connection)[0] == 404


def test_an_instance_that_stops_finishes_what_it_has(front, play) -> None:
    asked, may_answer = threading.Event(), threading.Event()

    def script(connection: socket.socket) -> None:
        read_head(connection)
        asked.set()
        assert may_answer.wait(DEADLINE_S)
        connection.sendall(OK)

    server = play(script)

    with front.connect() as connection:
        connection.sendall(GET)
        assert asked.wait(DEADLINE_S)
        front.record("a", server.server_port, status=Status.STOPPING)
        status, headers, body = front.get("/a/x")
        may_answer.set()
        assert read_response(connection)[2] == b"ok"

    assert (status, headers["retry-after"]) == (503, "1")
    assert json.loads(body)["detail"] == "instance 'a' is stopping"


def test_browsers_get_a_page(front) -> None:
    status, headers, body = front.get("/nobody/<b>", Accept="text/html,*/*;q=0.8")

    assert (status, headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert b"no instance or group &#x27;nobody&#x27;" in body


def test_the_front_page_names_the_instances(front, echo) -> None:
    status, headers, body = front.get("/")

    assert (status, headers["x-kato-gateway"]) == (200, "this-home")
    assert json.loads(body) == {
        "gateway": "this-home",
        "instances": [{"id": "a", "url": "/a/", "status": "running"}],
        "groups": [],
    }


def test_fixed_paths_without_control_process_are_503(tmp_path) -> None:
    front = hasty(tmp_path, control_s=0.1)
    status, headers, body = front.get("/api/instances")
    front.close()

    assert (status, headers["retry-after"]) == (503, "1")
    assert json.loads(body)["code"] == "control_unavailable"


def hasty(tmp_path, **values) -> FrontThread:
    return FrontThread(tmp_path / "hasty", Limits(drain_s=0.5, **values))


def test_a_slow_head_is_ended_however_it_trickles(tmp_path) -> None:
    front = hasty(tmp_path, header_s=0.6)
    try:
        with front.connect() as connection:
            connection.sendall(b"GET /a/x HTTP/1.1\r\n")
            answer = threading.Event()
            thread = threading.Thread(target=_trickle, args=(connection, answer))
            thread.start()
            status, _, body = read_response(connection)
            answer.set()
            thread.join(DEADLINE_S)
    finally:
        front.close()

    assert (status, json.loads(body)["code"]) == (408, "timeout")


def _trickle(connection: socket.socket, until: threading.Event) -> None:
    with suppress(OSError):
        while not until.wait(0.05):
            connection.sendall(b"X: 1\r\n")


def test_an_idle_connection_is_closed(tmp_path) -> None:
    front = hasty(tmp_path, idle_s=0.1)
    try:
        with front.connect() as connection:
            assert connection.recv(1) == b""
    finally:
        front.close()


def test_clients_beyond_the_limit_wait_for_room(tmp_path) -> None:
    front = hasty(tmp_path, connections=2)
    try:
        first, second = front.connect(), front.connect()
        wait_until(lambda: len(front.front.clients) == 2)
        with front.connect() as third:
            third.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            third.settimeout(0.2)
            with pytest.raises(TimeoutError):
                third.recv(1)
            third.settimeout(DEADLINE_S)
            first.close()
            assert read_response(third)[0] == 200
        second.close()
    finally:
        front.close()


def test_a_draining_front_finishes_and_accepts_nobody(tmp_path) -> None:
    front = FrontThread(tmp_path / "draining", Limits(drain_s=DEADLINE_S))
    asked, may_answer = threading.Event(), threading.Event()

    def script(connection: socket.socket) -> None:
        read_head(connection)
        asked.set()
        assert may_answer.wait(DEADLINE_S)
        connection.sendall(OK)

    server = RawServer(script)
    front.record("a", server.server_port)
    idle = front.connect()
    with front.connect() as connection:
        connection.sendall(GET)
        assert asked.wait(DEADLINE_S)
        closing_front = threading.Thread(target=front.close)
        closing_front.start()
        assert idle.recv(1) == b""
        may_answer.set()
        _, headers, body = read_response(connection)
    closing_front.join(DEADLINE_S)
    idle.close()
    server.close()

    assert (headers["connection"], body) == ("close", b"ok")


def test_a_connection_that_served_a_slow_client_serves_the_next(front, play) -> None:
    """The client's pace pauses the instance's connection; it must not stay paused in the pool."""
    size = 3 * MEGABYTE
    server = play(answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size))

    with front.connect() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        slow.sendall(GET)
        time.sleep(0.3)  # the pace of the client is what is tested
        status, _, body = read_response(slow)
    again, _, _ = front.get("/a/x")

    assert (status, len(body), again) == (200, size, 200)
    assert len(server.connections) == 1


def test_a_half_closed_client_gets_a_stream_to_its_end(front, play) -> None:
    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        time.sleep(2.0)  # longer than the wait for a client that is gone
        connection.sendall(b"k")

    play(script)

    with front.connect() as connection:
        connection.sendall(GET)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection).endswith(b"\r\n\r\nok")
