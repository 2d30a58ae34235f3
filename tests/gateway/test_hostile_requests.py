"""Raw bytes a client may send, and what it gets. Nothing of what is refused reaches an instance."""

import json
import re
import socket

import pytest

from gateway.servers import EchoServer, FrontThread, read_response

H = b"Host: localhost\r\n"
GET = b"GET /a/x HTTP/1.1\r\n" + H
POST = b"POST /a/x HTTP/1.1\r\n" + H
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    # the request line
    "nothing but an HTTP/0.9 line": (b"GET /a/x\r\n\r\n", 400),
    "two spaces": (b"GET  /a/x HTTP/1.1\r\n" + H + b"\r\n", 400),
    "a tab for a space": (b"GET\t/a/x HTTP/1.1\r\n" + H + b"\r\n", 400),
    "a space in the target": (b"GET /a/x y HTTP/1.1\r\n" + H + b"\r\n", 400),
    "a space after the version": (b"GET /a/x HTTP/1.1 \r\n" + H + b"\r\n", 400),
    "a space before the method": (b" GET /a/x HTTP/1.1\r\n" + H + b"\r\n", 400),
    "raw bytes in the target": (b"GET /a/caf\xc3\xa9 HTTP/1.1\r\n" + H + b"\r\n", 400),
    "a control character in the target": (b"GET /a/\x01 HTTP/1.1\r\n" + H + b"\r\n", 400),
    "a fragment": (b"GET /a/x#y HTTP/1.1\r\n" + H + b"\r\n", 400),
    "a target without a slash": (b"GET a/x HTTP/1.1\r\n" + H + b"\r\n", 400),
    "an asterisk for GET": (b"GET * HTTP/1.1\r\n" + H + b"\r\n", 400),
    "another scheme": (b"GET ftp://localhost/a/x HTTP/1.1\r\n" + H + b"\r\n", 400),
    "another host in the target": (b"GET http://b.com/a/x HTTP/1.1\r\n" + H + b"\r\n", 400),
    "user information": (b"GET http://u@localhost/a/x HTTP/1.1\r\n" + H + b"\r\n", 400),
    "a tunnel": (b"CONNECT localhost:22 HTTP/1.1\r\n" + H + b"\r\n", 501),
    "an unknown method": (b"BREW /a/x HTTP/1.1\r\n" + H + b"\r\n", 501),
    "a method in lower case": (b"get /a/x HTTP/1.1\r\n" + H + b"\r\n", 501),
    "HTTP/1.2": (b"GET /a/x HTTP/1.2\r\n" + H + b"\r\n", 505),
    "HTTP/2.0": (b"GET /a/x HTTP/2.0\r\n" + H + b"\r\n", 505),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "a version in lower case": (b"GET /a/x http/1.1\r\n" + H + b"\r\n", 400),
    "no version number": (b"GET /a/x HTTP/\r\n" + H + b"\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "another protocol": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 400),
    "a long request line": (b"GET /a/" + b"x" * 40_000, 414),
    # line ends and header lines
    "bare LF everywhere": (b"GET /a/x HTTP/1.1\nHost: localhost\n\n", 400),
    "bare LF after a header": (GET + b"X: 1\nY: 2\r\n\r\n", 400),
    "bare CR in a value": (GET + b"X: 1\rY: 2\r\n\r\n", 400),
    "an empty line of LF": (GET + b"X: 1\r\n\n", 400),
    "a folded header": (GET + b"X: 1\r\n 2\r\n\r\n", 400),
    "a folded first header": (b"GET /a/x HTTP/1.1\r\n X: 1\r\n" + H + b"\r\n", 400),
    "a space before the colon": (GET + b"X : 1\r\n\r\n", 400),
    "a tab before the colon": (GET + b"X\t: 1\r\n\r\n", 400),
    "a space before the colon of the length": (POST + b"Content-Length : 1\r\n\r\nx", 400),
    "a space in a name": (GET + b"X Y: 1\r\n\r\n", 400),
    "a name that is empty": (GET + b": 1\r\n\r\n", 400),
    "a header without a colon": (GET + b"X\r\n\r\n", 400),
    "NUL in a value": (GET + b"X: a\0b\r\n\r\n", 400),
    "NUL in a name": (GET + b"X\0: a\r\n\r\n", 400),
    "a control character in a value": (GET + b"X: a\x07b\r\n\r\n", 400),
    "DEL in a value": (GET + b"X: a\x7fb\r\n\r\n", 400),
    "a name of other letters": (GET + b"X\xc3\xa9: 1\r\n\r\n", 400),
    "a large header": (GET + b"X: " + b"x" * 40_000 + b"\r\n\r\n", 431),
    "many headers": (GET + b"X: 1\r\n" * 200 + b"\r\n", 431),
    # host
    "no host": (b"GET /a/x HTTP/1.1\r\n\r\n", 400),
    "two hosts": (GET + H + b"\r\n", 400),
    "an empty host": (b"GET /a/x HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "a host with a path": (b"GET /a/x HTTP/1.1\r\nHost: localhost/b\r\n\r\n", 400),
    "a host with a user": (b"GET /a/x HTTP/1.1\r\nHost: u@localhost\r\n\r\n", 400),
    "a port that is none": (b"GET /a/x HTTP/1.1\r\nHost: localhost:99999\r\n\r\n", 400),
    "a rebound name": (b"GET /a/x HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
    "a name that only begins right": (
        b"GET /a/x HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n",
        403,
    ),
    "a name that only ends right": (b"GET /a/x HTTP/1.1\r\nHost: evillocalhost\r\n\r\n", 403),
    "nothing but a dot": (b"GET /a/x HTTP/1.1\r\nHost: .\r\n\r\n", 403),
    "an address elsewhere": (b"GET /a/x HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", 403),
    "a foreign origin": (GET + b"Origin: http://evil.example\r\n\r\n", 403),
    "an opaque origin": (GET + b"Origin: null\r\n\r\n", 403),
    "another port as origin": (GET + b"Origin: http://localhost:1\r\n\r\n", 403),
    "a cross-site image": (
        GET + b"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n\r\n",
        403,
    ),
    # length and coding
    "two equal lengths": (POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
    "two different lengths": (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
    "a list of lengths": (POST + b"Content-Length: 1, 1\r\n\r\nx", 400),
    "a signed length": (POST + b"Content-Length: +1\r\n\r\nx", 400),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\nx", 400),
    "a hexadecimal length": (POST + b"Content-Length: 0x1\r\n\r\nx", 400),
    "an empty length": (POST + b"Content-Length:\r\n\r\nx", 400),
    "a length of other digits": (POST + b"Content-Length: \xb2\r\n\r\nxx", 400),
    "an endless length": (POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nx", 400),
    "length and coding": (
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "coding and length": (
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        400,
    ),
    "a coding in HTTP/1.0": (
        b"POST /a/x HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "an unknown coding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "no coding": (POST + b"Transfer-Encoding: identity\r\n\r\n", 400),
    "chunked twice": (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked in two headers": (
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunked, then something": (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
    "a hidden coding": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "a quoted coding": (POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 400),
    "gzip, chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "an expectation": (POST + b"Expect: 200-maybe\r\nContent-Length: 1\r\n\r\nx", 417),
    # chunks
    "a chunk size that is none": (CHUNKED + b"x\r\n", 400),
    "a chunk size with 0x": (CHUNKED + b"0x1\r\na\r\n0\r\n\r\n", 400),
    "a signed chunk size": (CHUNKED + b"+1\r\na\r\n0\r\n\r\n", 400),
    "a chunk size with a space": (CHUNKED + b"1 \r\na\r\n0\r\n\r\n", 400),
    "a chunk size that overflows": (CHUNKED + b"f" * 17 + b"1\r\na\r\n0\r\n\r\n", 400),
    "a chunk size before LF": (CHUNKED + b"1\na\r\n0\r\n\r\n", 400),
    "a chunk without its end": (CHUNKED + b"1\r\nab\r\n0\r\n\r\n", 400),
    "a chunk before LF": (CHUNKED + b"1\r\na\n0\r\n\r\n", 400),
    "an extension with LF": (CHUNKED + b"1;a\nb\r\na\r\n0\r\n\r\n", 400),
    "a folded trailer": (CHUNKED + b"0\r\nX: 1\r\n 2\r\n\r\n", 400),
    "endless trailers": (CHUNKED + b"0\r\n" + b"X: 1\r\n" * 20_000, 400),
    "an endless trailer": (CHUNKED + b"0\r\nX: " + b"x" * 100_000, 400),
    "an endless extension": (CHUNKED + b"1;" + b"x" * 100_000, 400),
    "a trailer with a space": (CHUNKED + b"0\r\nX : 1\r\n\r\n", 400),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_and_reaches_no_instance(
    front: FrontThread, echo: EchoServer, name: str
) -> None:
    raw, status = REFUSED[name]

    with front.connect() as connection:
        connection.sendall(raw)
        answered, headers, body = read_response(connection)

        assert answered == status
        assert headers["content-type"] == "application/problem+json"
        assert json.loads(body)["status"] == status
        if status != 403:
            assert connection.recv(1) == b"", "the connection cannot be trusted any more"
    assert echo.requests == []


ACCEPTED = {
    "upper case and odd spacing": (
        b"GET /a/x HTTP/1.1\r\nHOST:\t localhost \t\r\nx:\r\n\r\n",
        ("GET", "/x", b""),
    ),
    "empty lines before the request": (b"\r\n\r\n" + GET + b"\r\n", ("GET", "/x", b"")),
    "the absolute form": (
        b"GET http://localhost/a/x?y HTTP/1.1\r\n" + H + b"\r\n",
        ("GET", "/x?y", b""),
    ),
    "escapes stay as they are": (
        b"GET /a/%7C%2F..%2f/../%61?q=%20+&b HTTP/1.1\r\n" + H + b"\r\n",
        ("GET", "/%7C%2F..%2f/../%61?q=%20+&b", b""),
    ),
    "odd characters": (
        b'GET /a/"<>|{}^`\\ HTTP/1.1\r\n' + H + b"\r\n",
        ("GET", '/"<>|{}^`\\', b""),
    ),
    "two slashes": (b"GET /a//x HTTP/1.1\r\n" + H + b"\r\n", ("GET", "//x", b"")),
    "only a query": (b"GET /a/?x=1 HTTP/1.1\r\n" + H + b"\r\n", ("GET", "/?x=1", b"")),
    "an escaped id": (b"GET /%61/x HTTP/1.1\r\n" + H + b"\r\n", ("GET", "/x", b"")),
    "HTTP/1.0 without host": (b"GET /a/x HTTP/1.0\r\n\r\n", ("GET", "/x", b"")),
    "an IPv6 host": (b"GET /a/x HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n", ("GET", "/x", b"")),
    "an address of this machine": (
        b"GET /a/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        ("GET", "/x", b""),
    ),
    "the same origin": (GET + b"Origin: http://localhost\r\n\r\n", ("GET", "/x", b"")),
    "a link from elsewhere": (
        GET + b"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n\r\n",
        ("GET", "/x", b""),
    ),
    "a host of an instance": (
        b"GET /x HTTP/1.1\r\nHost: A.localhost:1\r\n\r\n",
        ("GET", "/x", b""),
    ),
    "a host of an instance that ends in a dot": (
        b"GET /x HTTP/1.1\r\nHost: a.localhost.:1\r\n\r\n",
        ("GET", "/x", b""),
    ),
    "a reserved word below a host": (
        b"GET /api/x HTTP/1.1\r\nHost: a.localhost\r\n\r\n",
        ("GET", "/api/x", b""),
    ),
    "a length of nought": (POST + b"Content-Length: 0\r\n\r\n", ("POST", "/x", b"")),
    "a body for GET": (GET + b"Content-Length: 2\r\n\r\nhi", ("GET", "/x", b"hi")),
    "chunks": (
        CHUNKED + b"2\r\nhi\r\n3;ext=1\r\n yo\r\n0\r\nX-Trailer: 1\r\n\r\n",
        ("POST", "/x", b"hi yo"),
    ),
    "chunks in upper case": (
        POST + b"Transfer-Encoding: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
        ("POST", "/x", b"0123456789"),
    ),
    "a body that looks like a request": (
        POST + b"Content-Length: 27\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n",
        ("POST", "/x", b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n"[:27]),
    ),
    "QUERY": (
        b"QUERY /a/x HTTP/1.1\r\n" + H + b"Content-Length: 1\r\n\r\nq",
        ("QUERY", "/x", b"q"),
    ),
    "OPTIONS": (b"OPTIONS /a/x HTTP/1.1\r\n" + H + b"\r\n", ("OPTIONS", "/x", b"")),
    "text in a value": (GET + b"X: caf\xc3\xa9\r\n\r\n", ("GET", "/x", b"")),
    "a connection header that names framing": (
        POST + b"Connection: content-length\r\nContent-Length: 1\r\n\r\nx",
        ("POST", "/x", b"x"),
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_reaches_the_instance_as_meant(front: FrontThread, echo: EchoServer, name: str) -> None:
    raw, expected = ACCEPTED[name]

    status, headers, _ = front.ask(raw)

    assert (status, headers["x-instance"]) == (200, "a")
    assert echo.requests == [expected]


@pytest.mark.parametrize("name", ACCEPTED)
def test_means_the_same_byte_by_byte(front: FrontThread, echo: EchoServer, name: str) -> None:
    raw, expected = ACCEPTED[name]

    with front.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for position in range(len(raw)):
            connection.sendall(raw[position : position + 1])
        status, _, _ = read_response(connection)

    assert status == 200
    assert echo.requests == [expected]


def test_pipelined_requests_are_answered_in_order(front: FrontThread, echo: EchoServer) -> None:
    raw = (
        b"GET /a/1 HTTP/1.1\r\n" + H + b"\r\n"
        b"POST /a/2 HTTP/1.1\r\n" + H + b"Content-Length: 2\r\n\r\nhi"
        b"GET /nobody/ HTTP/1.1\r\n" + H + b"\r\n"
        b"POST /a/3 HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n2\r\nyo\r\n0\r\n\r\n"
        b"GET /a/4 HTTP/1.1\r\n" + H + b"Connection: close\r\n\r\n"
    )

    with front.connect() as connection:
        connection.sendall(raw)
        stream = connection.makefile("rb").read()

    statuses = re.findall(rb"HTTP/1\.1 (\d{3}) ", stream)
    assert statuses == [b"200", b"200", b"404", b"200", b"200"]
    assert echo.requests == [
        ("GET", "/1", b""),
        ("POST", "/2", b"hi"),
        ("POST", "/3", b"yo"),
        ("GET", "/4", b""),
    ]


def test_a_refused_request_ends_the_pipeline(front: FrontThread, echo: EchoServer) -> None:
    smuggled = b"GET /a/smuggled HTTP/1.1\r\n" + H + b"\r\n"
    raw = POST + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled

    with front.connect() as connection:
        connection.sendall(raw)
        stream = connection.makefile("rb").read()

    assert stream.count(b"HTTP/1.1 ") == 1
    assert echo.requests == []
