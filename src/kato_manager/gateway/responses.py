"""The head of an instance's response: how its body ends, and which lines go on to the client."""

import re
from dataclasses import dataclass
from functools import lru_cache

import httptools

from kato_manager.gateway.grammar import FIELDS
from kato_manager.gateway.requests import Request

CHUNKED, UNTIL_EOF = -1, -2

_HEAD = re.compile(rb"HTTP/1\.[01] [1-5]\d\d(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n" + FIELDS)
_ZERO = ord("0")
_LENGTH = re.compile(rb"\d{1,18}")
_OURS = frozenset(
    b"connection keep-alive proxy-connection te transfer-encoding upgrade content-length"
    b" x-request-id".split()
)
_REWRITTEN = frozenset((b"location", b"content-location", b"set-cookie"))


class BadResponse(Exception):
    """What the instance sent is not HTTP; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A head as the client's side needs it. `length` is that of a body: bytes, or how it ends."""

    status: int
    length: int
    declared_length: bytes  # what Content-Length says, also where no body follows
    keep_alive: bool
    lines: bytes  # status line and header lines that go on to the client
    has_paths: bool  # some lines name paths of the instance
    has_date: bool
    upgrade: bytes

    @property
    def is_interim(self) -> bool:
        return self.status < 200 and self.status != 101  # noqa: PLR2004


def parse(head: bytes) -> Response:
    """Understand a head that ends in an empty line; raises `BadResponse`."""
    return _remembered(head) if len(head) <= _SMALL_HEAD else _parse(head)


_SMALL_HEAD = 1024


@lru_cache(maxsize=1024)
def _remembered(head: bytes) -> Response:
    return _parse(head)


class _Reader:
    __slots__ = ("pairs",)

    def __init__(self) -> None:
        self.pairs: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name, value.rstrip(b" \t")))


def _parse(head: bytes) -> Response:
    if not _HEAD.fullmatch(head):
        raise BadResponse("its answer does not begin with an HTTP head")
    reader = _Reader()
    parser = httptools.HttpResponseParser(reader)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise BadResponse(f"its answer cannot be parsed: {error}") from error
    return _understood(head, parser, reader)


def _understood(head: bytes, parser: httptools.HttpResponseParser, reader: _Reader) -> Response:
    status = parser.get_status_code()
    pairs = [(name.lower(), value) for name, value in reader.pairs]
    values = {name: value for name, value in pairs if name in _OURS}
    lengths = {value for name, value in pairs if name == b"content-length"}
    if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
        raise BadResponse("its answer has a Content-Length that is not one number")
    options = b", ".join(value for name, value in pairs if name == b"connection").lower()
    named = {option.strip(b" \t") for option in options.split(b",")}
    codings = values.get(b"transfer-encoding", b"").lower()
    if codings not in {b"", b"chunked", b"identity"}:
        raise BadResponse("its answer has a transfer coding other than chunked")
    stays_open = b"close" not in named and (head[7] != _ZERO or b"keep-alive" in named)
    dropped = _OURS | (named - {b"content-type", b"date"})
    return Response(
        status=status,
        length=_length(status, lengths, codings),
        declared_length=next(iter(lengths), b"") if codings != b"chunked" else b"",
        # Both framings at once may hide a second answer, so the connection is not used again.
        keep_alive=stays_open and not (lengths and codings),
        lines=b"HTTP/1.1"
        + head[8 : head.find(b"\r\n") + 2]
        + b"".join(
            b"%b: %b\r\n" % field
            for field, (name, _) in zip(reader.pairs, pairs, strict=True)
            if name not in dropped
        ),
        has_paths=any(name in _REWRITTEN for name, _ in pairs),
        has_date=any(name == b"date" for name, _ in pairs),
        upgrade=values.get(b"upgrade", b""),
    )


def _length(status: int, lengths: set[bytes], codings: bytes) -> int:
    """RFC 9112, 6.3, but for HEAD, which only the request knows."""
    if status < 200 or status in {204, 304}:  # noqa: PLR2004
        return 0
    if codings == b"chunked":
        return CHUNKED
    return int(next(iter(lengths))) if lengths else UNTIL_EOF


def body_length(response: Response, request: Request) -> int:
    """Bytes of body that follow, or how it ends."""
    return 0 if request.method == b"HEAD" else response.length
