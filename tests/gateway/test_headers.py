"""Header fields that a gateway has to add, and those that it may not believe (RFC 9110)."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest

from gateway.servers import EchoServer, FrontThread, read_head
from gateway.test_forward import GET, OK, answering


def asked(front: FrontThread, **headers: str) -> dict[str, str]:
    return json.loads(front.get("/a/x", **headers)[2])["headers"]


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [({}, "1.1 kato"), ({"Via": "1.0 fred, 1.1 p.example"}, "1.0 fred, 1.1 p.example, 1.1 kato")],
)
def test_an_instance_sees_by_whom_a_request_came(front, echo, given, passed_on) -> None:
    assert asked(front, **given)["via"] == passed_on


def test_a_request_of_http_1_0_came_by_that(front: FrontThread, echo: EchoServer) -> None:
    _, _, body = front.ask(b"GET /a/x HTTP/1.0\r\n\r\n")

    assert json.loads(body)["headers"]["via"] == "1.0 kato"


def test_forwarded_is_continued_and_never_begun(front: FrontThread, echo: EchoServer) -> None:
    assert "forwarded" not in asked(front)
    assert asked(front, Forwarded="for=203.0.113.9;proto=https", Host="localhost:1")[
        "forwarded"
    ] == ('for=203.0.113.9;proto=https, for=127.0.0.1;host="localhost:1";proto=http')


def test_who_takes_trailers_says_so_for_this_connection(front, echo) -> None:
    headers = asked(front, TE="trailers, deflate;q=0.5")

    assert (headers["te"], headers["connection"]) == ("trailers", "TE")


@pytest.mark.parametrize("path", ["/", "/nobody/x"])
def test_what_the_gateway_says_itself_is_dated(front: FrontThread, path: str) -> None:
    _, headers, _ = front.get(path)

    age = datetime.now(UTC) - parsedate_to_datetime(headers["date"])
    assert timedelta(seconds=-1) < age < timedelta(seconds=10)


def test_an_answer_gets_a_date_only_where_it_has_none(front, play) -> None:
    dated = OK.replace(b"\r\n", b"\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n", 1)

    dates = []
    for name, answer in (("a", dated), ("b", OK)):
        play(answering(answer), name)
        with front.connect() as connection:
            connection.sendall(GET.replace(b"/a/", b"/%b/" % name.encode()))
            head = read_head(connection).split(b"\r\n")
        dates.append([line for line in head if line.startswith(b"Date: ")])

    assert dates[0] == [b"Date: Thu, 01 Jan 1970 00:00:00 GMT"]
    (given,) = dates[1]
    assert datetime.now(UTC) - parsedate_to_datetime(given[6:].decode()) < timedelta(seconds=10)


@pytest.mark.parametrize("path", ["/", "/health"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_the_gateways_own_pages_are_for_reading(front: FrontThread, path: str, method) -> None:
    raw = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"

    status, headers, body = front.ask(raw.encode())

    assert (status, headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert json.loads(body)["code"] == "method_not_allowed"


@pytest.mark.parametrize("target", ["*", "/", "/health"])
def test_options_says_what_can_be_done(front: FrontThread, target: str) -> None:
    status, headers, _ = front.ask(f"OPTIONS {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    assert (status, headers["allow"]) == (200, "GET, HEAD, OPTIONS")
