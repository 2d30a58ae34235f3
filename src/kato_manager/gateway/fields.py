"""The header fields of a request: what single ones say, and which of them go on to the target."""

import re

from kato_manager.gateway.grammar import shown
from kato_manager.gateway.problems import bad_request

Pairs = tuple[tuple[bytes, bytes], ...]  # names are lower-case

# Said anew by us, or meant for this one connection (RFC 9110, 7.6.1).
_OURS = frozenset(
    b"host content-length transfer-encoding connection keep-alive proxy-connection te upgrade"
    b" proxy-authorization http2-settings expect via forwarded x-request-id x-forwarded-for"
    b" x-forwarded-proto x-forwarded-host x-forwarded-prefix x-forwarded-port".split()
)
_LENGTH = re.compile(rb"\d{1,18}")


def joined(pairs: Pairs, name: bytes) -> bytes:
    return b", ".join([value for key, value in pairs if key == name])


def single(pairs: Pairs, name: bytes) -> bytes:
    values = [value for key, value in pairs if key == name]
    return values[0] if len(values) == 1 else b""


def framing(pairs: Pairs, *, http_10: bool) -> tuple[int, bool]:
    """Length of the body and whether it is chunked; anything ambiguous is refused."""
    lengths = [value for name, value in pairs if name == b"content-length"]
    codings = [value for name, value in pairs if name == b"transfer-encoding"]
    if codings and lengths:
        raise bad_request("both Content-Length and Transfer-Encoding")
    if len(lengths) > 1:
        raise bad_request("Content-Length is given more than once")
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        raise bad_request(f"Content-Length {shown(lengths[0])} is not a number of bytes")
    if codings:
        _check_codings(codings, http_10=http_10)
    return int(lengths[0]) if lengths else 0, bool(codings)


def _check_codings(codings: list[bytes], *, http_10: bool) -> None:
    if http_10:
        raise bad_request("Transfer-Encoding does not exist in HTTP/1.0")
    if len(codings) == 1 and codings[0].lower() == b"chunked":
        return
    names = [name.strip(b" \t").lower() for name in b",".join(codings).split(b",")]
    known = {b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"}
    if len(names) > 1 and names[-1] == b"chunked" and known.issuperset(names[:-1]):
        raise bad_request(
            f"transfer coding {shown(names[0])} is not supported, send it as Content-Encoding",
            status=501,
            code="coding_not_implemented",
        )
    raise bad_request(f"Transfer-Encoding {shown(b', '.join(codings))} is not chunked")


def options(pairs: Pairs) -> frozenset[bytes]:
    """What the Connection headers name."""
    said = joined(pairs, b"connection")
    return frozenset(option.strip(b" \t").lower() for option in said.split(b",") if option)


def upgrade(pairs: Pairs, named: frozenset[bytes], *, http_10: bool) -> bytes:
    """The protocol to switch to; h2c is not passed on, it would tunnel requests past us."""
    wanted = joined(pairs, b"upgrade") if b"upgrade" in named and not http_10 else b""
    names = {name.strip(b" \t").lower().partition(b"/")[0] for name in wanted.split(b",")}
    return b"" if names & {b"h2c", b"h2", b"http", b"tls"} else wanted


def onward(
    sent: list[tuple[bytes, bytes]],
    pairs: Pairs,
    named: frozenset[bytes],
    *,
    length: int,
    chunked: bool,
) -> bytes:
    """The header lines for the instance, without what is ours to say."""
    dropped = _OURS | named
    passed = [
        b"%b: %b\r\n" % field
        for field, (name, _) in zip(sent, pairs, strict=True)
        # Some servers read `_` as `-`, so such a name could say what only we may say.
        if name not in dropped and name.replace(b"_", b"-") not in _OURS
    ]
    if chunked:
        passed.append(b"Transfer-Encoding: chunked\r\n")
    elif length or any(name == b"content-length" for name, _ in pairs):
        passed.append(b"Content-Length: %d\r\n" % length)
    expected = joined(pairs, b"expect").lower()
    if expected == b"100-continue":
        passed.append(b"Expect: 100-continue\r\n")
    elif expected:
        raise bad_request(
            f"Expect: {shown(expected)} cannot be met", status=417, code="expectation_failed"
        )
    if b"trailers" in joined(pairs, b"te").lower():
        passed.append(b"TE: trailers\r\nConnection: TE\r\n")
    return b"".join(passed)


def via(pairs: Pairs, version: bytes) -> bytes:
    """RFC 9110, 7.6.3: a gateway has to say that a request came by it."""
    known = joined(pairs, b"via")
    return b"Via: %b%b kato\r\n" % (known + b", " if known else b"", version)
