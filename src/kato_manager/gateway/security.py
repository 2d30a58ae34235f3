"""Which requests a web page of somebody else may have caused: those are refused.

A page can make a browser send requests here (drive-by), also under a host name of its own that
resolves to this machine (DNS rebinding). The first shows in Origin and Sec-Fetch-Site, the second
in Host. Programs send neither Origin nor foreign hosts and notice nothing.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from kato_manager.gateway.problems import Problem
from kato_manager.gateway.requests import Request, hostname

_ADDRESS = re.compile(rb"\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]+\]")
_LOOPBACK = re.compile(rb"(?:[^.]+(?:\.[^.]+)*\.)?localhost\.?|127(?:\.\d{1,3}){3}|\[::1\]")
_ORIGIN = re.compile(rb"https?://([^/]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """`hosts` and `origins` are trusted besides this machine's own names."""

    hosts: frozenset[bytes] = frozenset()
    origins: frozenset[bytes] = frozenset()
    is_public: bool = False  # listens on more than loopback: then any plain address is a host

    def check(self, request: Request) -> None:
        """Raise the `Problem` that refuses the request."""
        self._check_host(request)
        if request.origin:
            self._check_origin(request, request.origin)
        elif request.is_cross_site:
            self._check_navigation(request)

    def _check_host(self, request: Request) -> None:
        name = request.hostname
        if not name or _is_loopback(name) or name in self.hosts:
            return
        if self.is_public and _ADDRESS.fullmatch(name):
            return
        shown = name.decode("latin-1")
        raise Problem(
            status=403,
            code="host_not_allowed",
            detail=f"host {shown!r} is not a name of this gateway",
            hint=f"kato gateway up --allow-host {shown}",
        )

    def _check_origin(self, request: Request, origin: bytes) -> None:
        match = _ORIGIN.fullmatch(origin)
        if match and match[1].lower() == request.host.lower():
            return
        if origin.lower() in self.origins:
            return
        raise Problem(
            status=403,
            code="origin_not_allowed",
            detail=f"requests from pages of {origin.decode('latin-1')!r} are refused",
            hint=f"kato gateway up --allow-origin {origin.decode('latin-1')}",
        )

    @staticmethod
    def _check_navigation(request: Request) -> None:
        """A link from elsewhere may be followed; nothing else may be caused from elsewhere."""
        if request.value(b"sec-fetch-mode") == b"navigate" and request.method in {b"GET", b"HEAD"}:
            return
        raise Problem(
            status=403,
            code="origin_not_allowed",
            detail="requests caused by pages of another site are refused",
        )


@lru_cache(maxsize=256)
def _is_loopback(name: bytes) -> bool:
    return _LOOPBACK.fullmatch(name) is not None


def trusted(hosts: list[str], origins: list[str], *, listen: str) -> Security:
    """The rules for a gateway that listens on `listen`."""
    is_public = not _is_loopback(listen.encode())
    return Security(
        hosts=frozenset(hostname(host.encode()) for host in hosts),
        origins=frozenset(origin.rstrip("/").lower().encode() for origin in origins),
        is_public=is_public,
    )
