"""An instance may answer before it has read the whole request, and close (RFC 9112, 9.6)."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from gateway.servers import FrontThread, read_all, read_head, read_response

LENGTH = b"POST /a/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000000\r\n\r\n"
CHUNKED = b"POST /a/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
LARGE = b"b" * 50_000  # as much as is on its way at once: more is lost in the instance's kernel


def refusing(answer: bytes):
    """Reads the head, answers, and closes with bytes of the body unread: a reset follows."""

    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.recv(1, socket.MSG_PEEK)
        connection.sendall(answer)

    return script


def upload(head: bytes, part: bytes) -> Iterator[bytes]:
    yield head
    while True:
        yield b"%x\r\n%b\r\n" % (len(part), part) if head is CHUNKED else part


def send_on(connection: socket.socket, head: bytes, *, part: bytes, seconds: float) -> None:
    """Send as a client that looks for no answer meanwhile."""
    until = time.monotonic() + seconds
    with suppress(OSError):
        for piece in upload(head, part):
            connection.sendall(piece)
            if time.monotonic() > until:
                return


@pytest.mark.parametrize("head", [LENGTH, CHUNKED], ids=["length", "chunked"])
@pytest.mark.parametrize(
    "framing", [b"Content-Length: 3\r\n", b"Connection: close\r\n"], ids=["3 bytes", "until closed"]
)
def test_it_arrives_whole_though_the_instance_resets(front, play, head, framing) -> None:
    play(refusing(b"HTTP/1.1 413 Too Large\r\n" + framing + b"\r\nbig"))

    for _ in range(15):
        with front.connect() as connection:
            send_on(connection, head, part=b"x" * 5000, seconds=0.02)
            status, headers, body = read_response(connection)

        assert (status, headers["connection"], body) == (413, "close", b"big")


@pytest.mark.parametrize("head", [LENGTH, CHUNKED], ids=["length", "chunked"])
def test_a_slow_reader_gets_a_large_one(front: FrontThread, play, head) -> None:
    answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n" % len(LARGE)
    play(refusing(answer + LARGE))

    with front.connect() as connection:
        send_on(connection, head, part=b"x" * 5000, seconds=0.2)
        got = b""
        while part := connection.recv(1000):
            got += part
            time.sleep(0.002)

    assert got.partition(b"\r\n\r\n")[2] == LARGE


def test_a_client_that_uploads_for_longer_is_not_reset(front: FrontThread, play) -> None:
    play(refusing(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"))

    with front.connect() as connection:
        until = time.monotonic() + 3.0
        connection.sendall(LENGTH)
        while time.monotonic() < until:
            connection.sendall(b"x" * 5000)
            time.sleep(0.02)
        said = read_all(connection)

    assert said.endswith(b"\r\n\r\nbig")


def test_one_that_breaks_off_does_not_look_complete(front: FrontThread, play) -> None:
    play(refusing(b"HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\nbig"))

    with front.connect() as connection:
        send_on(connection, LENGTH, part=b"x" * 5000, seconds=0.05)
        said = read_all(connection)

    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert (b"Content-Length: 9" in head, body) == (True, b"big")
