"""The strict grammar of a head, and what is wrong with one that does not match it.

httptools lets some things pass that other servers read differently (RFC 9112 is strict, its
readers are not); what matches here is read one way only.
"""

import re

from kato_manager.gateway.problems import Problem, bad_request

HEAD_END = b"\r\n\r\n"
TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
FIELDS = rb"(?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*+\r\n"
HEAD = re.compile(TOKEN + rb" [\x21\x22\x24-\x7e]++ HTTP/1\.[01]\r\n" + FIELDS)
_LINE = re.compile(TOKEN + rb" [\x21\x22\x24-\x7e]++ HTTP/1\.[01]")
_OTHER_VERSION = re.compile(TOKEN + rb" [^\s]+ HTTP/(?!1\.[01])\d(?:\.\d)?")
_LONE_LINE_END = re.compile(rb"(?<!\r)\n|\r(?!\n)")


def early_problem(start: bytes) -> Problem | None:
    """What is already wrong with the beginning of a head, so that nobody waits for its end."""
    if start[:2] == b"\x16\x03":
        return bad_request("this port speaks HTTP, not HTTPS: use http://")
    lone = _LONE_LINE_END.search(start.removesuffix(b"\r"))
    if lone or b"\0" in start or not re.match(TOKEN, start):
        return explain(start)
    return None


def explain(head: bytes) -> Problem:
    """Why a head does not match the grammar, naming the line."""
    if _LONE_LINE_END.search(head.removesuffix(b"\r")):
        return bad_request("a line ends in a bare CR or LF instead of CRLF")
    line, *fields = head.split(b"\r\n")
    if not _LINE.fullmatch(line):
        return _explain_line(line)
    for one in fields:
        name, colon, _ = one.partition(b":")
        if one[:1] in {b" ", b"\t"}:
            return bad_request("a header is folded over two lines")
        if colon and name[-1:] in {b" ", b"\t"}:
            return bad_request(f"whitespace before the colon of {shown(name)}")
        if one and not re.fullmatch(TOKEN, name):
            return bad_request(f"{shown(name)} is not a header name")
        if one and not colon:
            return bad_request(f"{shown(one)} is not a header")
    return bad_request("a header value has a control character")


def _explain_line(line: bytes) -> Problem:
    if _OTHER_VERSION.fullmatch(line):
        return bad_request("only HTTP/1.0 and HTTP/1.1", status=505, code="version_not_supported")
    return bad_request(f"{shown(line)} is not a request line")


def shown(text: bytes) -> str:
    return repr(text[:80].decode("latin-1"))
