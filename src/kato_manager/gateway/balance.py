"""Which member of a group gets a request. Pure: members, load and key in, an order of trial out.

Policies, written in the label `kato.balance` of a member:

    least-pending     the one with the fewest requests in flight (the default)
    header:<name>     equal values of the header meet the same member
    cookie:<name>     the same for a cookie
    session           the same for X-Session-Id or `/sessions/<id>` in the path
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from http.cookies import CookieError, SimpleCookie

from kato_manager.gateway.requests import Request
from kato_manager.gateway.routes import Group, Route

_SESSION_PATH = re.compile(rb"/sessions/([^/?]+)")


def order(
    group: Group, request: Request, *, pending: Callable[[Route], int], turn: int
) -> list[Route]:
    """Members that take requests, the best first; the next ones are for when it fails.

    `turn` counts up from call to call, so that members with equal load take turns.
    """
    ready = [member for member in group.members if member.takes_requests]
    key = affinity(group.policy, request)
    if key:
        return rendezvous(key, ready)
    rotated = [ready[(turn + i) % len(ready)] for i in range(len(ready))]
    return sorted(rotated, key=pending)


def to_wake(group: Group, request: Request) -> Route | None:
    """The member to start where none takes requests: one that requests may start."""
    asleep = [member for member in group.members if member.on_demand]
    return next(iter(rendezvous(affinity(group.policy, request), asleep)), None)


def affinity(policy: str, request: Request) -> bytes:
    """What binds the request to a member; empty when nothing does."""
    kind, _, name = policy.partition(":")
    if kind == "header":
        return request.value(name.strip().lower().encode())
    if kind == "cookie":
        return _cookie(request.value(b"cookie"), name.strip())
    if kind == "session":
        found = _SESSION_PATH.search(request.target)
        return request.value(b"x-session-id") or (found[1] if found else b"")
    return b""


def _cookie(header: bytes, name: str) -> bytes:
    try:
        morsel = SimpleCookie(header.decode("latin-1")).get(name)
    except CookieError:
        return b""
    return morsel.value.encode() if morsel else b""


def rendezvous(key: bytes, members: Sequence[Route]) -> list[Route]:
    """Members by their weight for this key, heaviest first.

    Highest random weight hashing (Thaler and Ravishankar, 1998): when a member of n leaves, only
    its own keys move, 1/n of all.
    """
    return sorted(members, key=lambda member: _weight(key, member.id), reverse=True)


def _weight(key: bytes, member: str) -> bytes:
    return hashlib.blake2b(
        key, digest_size=8, key=hashlib.sha256(member.encode()).digest()
    ).digest()
