"""Paths in an instance's answers, put back under the prefix that it does not know of."""

import re

_LOCATION = re.compile(rb"(?im)^((?:content-)?location:[ \t]*)([^\r\n]*)")
_COOKIE_PATH = re.compile(rb"(?im)^(set-cookie:[^\r\n]*?;[ \t]*path=)(/[^;\r\n]*)")
_AUTHORITY = re.compile(rb"(?:https?:)?//([^/?#]*)", re.IGNORECASE)


def with_prefix(lines: bytes, prefix: bytes, hosts: frozenset[bytes]) -> bytes:
    """Header lines whose Location and cookie paths begin with `prefix`.

    `hosts` are the names under which the instance may speak of itself.
    """

    def located(match: re.Match[bytes]) -> bytes:
        return match[1] + _location(match[2], prefix, hosts)

    def baked(match: re.Match[bytes]) -> bytes:
        return match[1] + _prefixed(match[2], prefix)

    return _COOKIE_PATH.sub(baked, _LOCATION.sub(located, lines))


def _location(location: bytes, prefix: bytes, hosts: frozenset[bytes]) -> bytes:
    authority = _AUTHORITY.match(location)
    if not authority:
        return _prefixed(location, prefix) if location.startswith(b"/") else location
    if authority[1].lower() not in hosts:
        return location
    # Said without scheme and host: those that the client used are right, ours may not be.
    path = location[authority.end() :]
    return _prefixed(path if path.startswith(b"/") else b"/" + path, prefix)


def _prefixed(path: bytes, prefix: bytes) -> bytes:
    """Some applications read X-Forwarded-Prefix and have said it already."""
    if path == prefix or path.startswith((prefix + b"/", prefix + b"?")):
        return path
    return prefix + path
