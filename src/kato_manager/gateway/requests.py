"""The head of a request: refused unless every server would read it the same way, then understood.

httptools parses; it lets some things pass that other servers read differently, so the bytes have
to match the strict grammar of RFC 9112 first.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache

import httptools

from kato_manager.gateway import fields, grammar
from kato_manager.gateway.fields import Pairs
from kato_manager.gateway.grammar import shown
from kato_manager.gateway.problems import bad_request
from kato_manager.gateway.routes import Match, Route

MAX_FIELDS = 128

_HOST = re.compile(rb"((?:[A-Za-z0-9._~%!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]+\]))(?::(\d{1,5}))?")
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp]://([^/?]+)(/?[^?]*\??.*)")
_REQUEST_ID = re.compile(rb"[\x21\x23-\x5b\x5d-\x7e]{1,128}")

_SAFE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A head as the rest of the gateway needs it; names in `pairs` are lower-case."""

    method: bytes
    target: bytes  # path and query as sent
    host: bytes  # as sent; empty only in HTTP/1.0
    hostname: bytes  # lower-case, without port
    http_10: bool
    keep_alive: bool
    length: int  # of the body; 0 as well when it is chunked
    chunked: bool
    upgrade: bool
    wants_html: bool
    origin: bytes
    is_cross_site: bool  # a browser says that a page of another site caused it
    request_id: bytes  # empty: the client sent none that can be kept
    forwarded_for: bytes
    forwarded: bytes  # RFC 7239; empty: nobody before us used it
    lines: bytes  # the header lines that go on to the instance
    pairs: Pairs = field(repr=False)

    @property
    def has_body(self) -> bool:
        return self.chunked or self.length > 0

    @property
    def is_safe(self) -> bool:
        """May be sent twice: RFC 9110, 9.2.1."""
        return self.method in _SAFE and not self.has_body

    def value(self, name: bytes) -> bytes:
        """The first header of this lower-case name, or nothing."""
        return next((value for key, value in self.pairs if key == name), b"")


def parse(head: bytes) -> Request:
    """Understand a head that ends in an empty line; raises `Problem`.

    Clients repeat themselves: the small heads of a connection are mostly equal, byte for byte.
    """
    return _remembered(head) if len(head) <= _SMALL_HEAD else _parse(head)


_SMALL_HEAD = 1024


@lru_cache(maxsize=1024)
def _remembered(head: bytes) -> Request:
    return _parse(head)


class _Reader:
    """What httptools reports about one head."""

    __slots__ = ("pairs", "target")

    def __init__(self) -> None:
        self.target = b""
        self.pairs: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name, value.rstrip(b" \t")))


def _parse(head: bytes) -> Request:
    if not grammar.HEAD.fullmatch(head):
        raise grammar.explain(head)
    reader = _Reader()
    parser = httptools.HttpRequestParser(reader)
    refusal = None
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserInvalidMethodError:
        raise bad_request(
            f"method {shown(head.partition(b' ')[0])} is not known here",
            status=501,
            code="method_not_implemented",
        ) from None
    except httptools.HttpParserError as error:
        refusal = bad_request(f"the request cannot be parsed: {error}")
    request = _understood(parser, reader)
    if refusal:
        raise refusal
    return request


def _understood(parser: httptools.HttpRequestParser, reader: _Reader) -> Request:
    if len(reader.pairs) > MAX_FIELDS:
        raise bad_request(
            f"more than {MAX_FIELDS} header fields", status=431, code="headers_too_large"
        )
    pairs = tuple((name.lower(), value) for name, value in reader.pairs)
    http_10 = parser.get_http_version() == "1.0"
    length, chunked = fields.framing(pairs, http_10=http_10)
    target, host = _addressed(parser.get_method(), reader.target, pairs, http_10=http_10)
    options = fields.options(pairs)
    upgrade = fields.upgrade(pairs, options, http_10=http_10)
    request_id = fields.single(pairs, b"x-request-id")
    return Request(
        method=parser.get_method(),
        target=target,
        host=host,
        hostname=hostname(host),
        http_10=http_10,
        keep_alive=b"close" not in options and (not http_10 or b"keep-alive" in options),
        length=length,
        chunked=chunked,
        upgrade=bool(upgrade),
        wants_html=b"text/html" in fields.joined(pairs, b"accept"),
        origin=fields.joined(pairs, b"origin"),
        is_cross_site=fields.joined(pairs, b"sec-fetch-site") == b"cross-site",
        request_id=request_id if _REQUEST_ID.fullmatch(request_id) else b"",
        forwarded_for=fields.joined(pairs, b"x-forwarded-for"),
        forwarded=fields.joined(pairs, b"forwarded"),
        lines=fields.onward(reader.pairs, pairs, options, length=length, chunked=chunked)
        + fields.via(pairs, b"1.0" if http_10 else b"1.1")
        + (b"Connection: Upgrade\r\nUpgrade: %b\r\n" % upgrade if upgrade else b""),
        pairs=pairs,
    )


def hostname(host: bytes) -> bytes:
    """A Host header without its port, in lower case; `a.localhost.` is `a.localhost`."""
    match = _HOST.fullmatch(host)
    return match[1].lower().removesuffix(b".") or b"." if match else b""


def _addressed(method: bytes, target: bytes, pairs: Pairs, *, http_10: bool) -> tuple[bytes, bytes]:
    """Path and host, from whichever of the forms of RFC 9112, 3.2 was sent."""
    hosts = [value for name, value in pairs if name == b"host"]
    if len(hosts) > 1:
        raise bad_request("Host is given more than once")
    if not hosts and not http_10:
        raise bad_request("no Host header")
    host = hosts[0] if hosts else b""
    if hosts and not _valid_host(host):
        raise bad_request(f"Host {shown(host)} is not a host name")
    if method == b"CONNECT":
        raise bad_request("this is not a forward proxy", status=501, code="not_a_forward_proxy")
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target, host
    absolute = _ABSOLUTE.fullmatch(target)
    if not absolute or not _valid_host(absolute[1]):
        raise bad_request(f"{shown(target)} is not a path")
    if host and absolute[1].lower() != host.lower():
        raise bad_request("the request line and Host name different hosts")
    path = absolute[2]
    return (path if path.startswith(b"/") else b"/" + path), absolute[1]


def _valid_host(host: bytes) -> bool:
    match = _HOST.fullmatch(host)
    return match is not None and int(match[2] or 0) <= 65535  # noqa: PLR2004


def upstream_head(
    request: Request, match: Match, route: Route | None, address: bytes, request_id: bytes
) -> bytes:
    """The head as the target gets it; `address` is the client's."""
    path = match.path
    prefix = match.prefix
    if route and not route.strip and prefix:
        path, prefix = prefix + path, b""
    known = request.forwarded_for
    return (
        b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%b"
        b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: %b\r\n%b"
        b"X-Request-Id: %b\r\n\r\n"
    ) % (
        request.method,
        path,
        request.host or b"localhost",
        request.lines,
        _forwarded(request, address) if request.forwarded else b"",
        known + b", " + address if known else address,
        request.host or b"localhost",
        b"X-Forwarded-Prefix: %b\r\n" % prefix if prefix else b"",
        request_id,
    )


def _forwarded(request: Request, address: bytes) -> bytes:
    """What others have said of the way so far, and our part of it."""
    node = b'"[%b]"' % address if b":" in address else address
    ours = b'for=%b;host="%b";proto=http' % (node, request.host or b"localhost")
    return b"Forwarded: %b, %b\r\n" % (request.forwarded, ours)


UNREAD = Request(
    method=b"-",
    target=b"-",
    host=b"",
    hostname=b"",
    http_10=False,
    keep_alive=False,
    length=0,
    chunked=False,
    upgrade=False,
    wants_html=False,
    origin=b"",
    is_cross_site=False,
    request_id=b"",
    forwarded_for=b"",
    forwarded=b"",
    lines=b"",
    pairs=(),
)
