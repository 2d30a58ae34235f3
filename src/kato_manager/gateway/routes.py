"""Path or host name -> instance or group. The table is pure; `Routes` keeps it up to date."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import quote, unquote_to_bytes

from kato_manager import names
from kato_manager.gateway.problems import Problem
from kato_manager.model import Instance, Status

FIXED = names.RESERVED_IDS  # first words of paths that the control process answers
_LOCALHOST = b".localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One instance as a target."""

    id: str
    port: int
    prefix: bytes  # what stands before the instance's own paths: b"/a"
    strip: bool = True  # the instance does not know its prefix
    status: Status = Status.RUNNING
    reason: str = ""
    on_demand: bool = False
    updated_at: datetime | None = None

    @property
    def takes_requests(self) -> bool:
        return self.status is Status.RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Several instances under one name; `policy` as `balance.choose` knows it."""

    id: str
    prefix: bytes
    members: tuple[Route, ...]
    policy: str = ""


class Match(NamedTuple):
    """Where a request goes; a tuple, since each request makes one.

    `path` is what the target is asked for, raw, query included. `target` None means the gateway
    itself; `prefix` is what was taken away.
    """

    target: Route | Group | None
    path: bytes
    prefix: bytes = b""


class RouteTable:
    """What the registry said at one moment; never changes."""

    def __init__(self, targets: Iterable[Route | Group] = ()) -> None:
        self._by_word = {target.id.encode(): target for target in targets}
        self._by_name = {one.id.casefold().encode(): one for one in self._by_word.values()}
        # Words that a path has as they are; others are looked up after unquoting.
        self._plain = {word: one for word, one in self._by_word.items() if _PLAIN.fullmatch(word)}

    @classmethod
    def of(cls, instances: Mapping[str, Instance]) -> "RouteTable":
        """One route for each instance, one group for each group word that is no instance's id."""
        recorded = [instances[one] for one in instances]
        routes = {one.id: _route(one) for one in recorded}
        members: dict[str, list[Instance]] = {}
        for one in recorded:
            if one.spec.group and one.spec.group not in routes:
                members.setdefault(one.spec.group, []).append(one)
        groups = [_group(name, several) for name, several in members.items()]
        return cls([*routes.values(), *groups])

    def __iter__(self) -> Iterator[Route | Group]:
        return iter(self._by_word.values())

    @property
    def ids(self) -> list[str]:
        return [target.id for target in self._by_word.values()]

    def match(self, target: bytes, hostname: bytes = b"") -> Match:
        """Find the target of a request.

        Raises `Problem`: the redirect of `/<id>`, or 404 naming what there is.
        """
        if hostname.endswith(_LOCALHOST) and hostname != _LOCALHOST:
            return self._by_hostname(target, hostname)
        slash = target.find(b"/", 1)
        if slash > 0 and (found := self._plain.get(target[1:slash])):
            return Match(found, target[slash:], target[:slash])
        end = _segment_end(target)
        word = unquote_to_bytes(target[1:end])
        if not word or word in _FIXED:
            return Match(None, target)
        found = self._by_word.get(word)
        if found is None:
            raise self._unknown(word)
        if target[end : end + 1] != b"/":
            raise _redirect(target[:end] + b"/" + target[end:])
        return Match(found, target[end:], target[:end])

    def _by_hostname(self, target: bytes, hostname: bytes) -> Match:
        """`<id>.localhost`: the whole path is the instance's own."""
        found = self._by_name.get(unquote_to_bytes(hostname.removesuffix(_LOCALHOST)))
        if found is None:
            raise self._unknown(hostname.removesuffix(_LOCALHOST))
        return Match(target=found, path=target)

    def _unknown(self, word: bytes) -> Problem:
        asked = word.decode("utf-8", "replace")
        meant = _closest(asked, self.ids)
        hint = f"did you mean {quote('/' + meant)}/ ?" if meant else "kato list shows what there is"
        return Problem(
            status=404,
            code="instance_not_found",
            detail=f"no instance or group {asked!r}",
            hint=hint,
            members={"instances": sorted(self.ids)[:_SHOWN_IDS], "suggestion": meant},
        )


_PLAIN = re.compile(rb"[A-Za-z0-9._~-]+")
_FIXED = frozenset(word.encode() for word in FIXED)
_SHOWN_IDS = 100


def _closest(asked: str, ids: list[str]) -> str | None:
    """As `names.closest`, but among 5,000 ids in 1 ms and not in 300: all others wait meanwhile."""
    from rapidfuzz import fuzz, process

    found = process.extractOne(
        asked[: names.MAX_ID_LENGTH], ids, scorer=fuzz.ratio, score_cutoff=60.0
    )
    return found[0] if found else None


def _segment_end(target: bytes) -> int:
    slash, query = target.find(b"/", 1), target.find(b"?", 1)
    if slash < 0:
        return query if query >= 0 else len(target)
    return slash if query < 0 else min(slash, query)


def _redirect(location: bytes) -> Problem:
    # A path of two slashes would send a browser to another host.
    where = b"/" + location.lstrip(b"/")
    return Problem(
        status=307,
        code="redirect",
        detail=f"it is at {where.decode('latin-1')}",
        location=where,
    )


def _route(instance: Instance) -> Route:
    spec = instance.spec
    return Route(
        id=instance.id,
        port=instance.port,
        prefix=b"/" + quote(instance.id).encode(),
        strip=spec.prefix == "strip",
        status=instance.status,
        reason=instance.reason,
        on_demand=spec.start == "on-demand",
        updated_at=instance.updated_at,
    )


def _group(name: str, members: list[Instance]) -> Group:
    policies = (one.spec.labels.get(BALANCE_LABEL, "") for one in members)
    return Group(
        id=name,
        prefix=b"/" + quote(name).encode(),
        members=tuple(_route(one) for one in members),
        policy=next(filter(None, policies), ""),
    )


BALANCE_LABEL = "kato.balance"


def unavailable(route: Route) -> Problem:
    """503 for what is known but takes no requests, with the reason and when to try again."""
    reasons = {
        Status.STARTING: ("is starting", 1),
        Status.STOPPING: ("is stopping", 1),
        Status.STOPPED: ("is stopped", 30),
        Status.FAILED: ("has failed", 10),
        Status.RUNNING: ("does not answer", 1),
    }
    words, retry_after_s = reasons[route.status]
    because = f": {route.reason}" if route.reason else ""
    return Problem(
        status=503,
        code="instance_not_running",
        detail=f"instance {route.id!r} {words}{because}",
        hint=f"kato status {route.id}",
        retry_after_s=retry_after_s,
        members={"instance": route.id, "instance_status": route.status.value},
    )


class Reader(Protocol):
    """What a table is made from: `registry.Registry`."""

    path: Path

    def read(self) -> Mapping[str, Instance]: ...


class Routes:
    """The table of the registry as it is now, for one `stat` a look."""

    def __init__(self, registry: Reader) -> None:
        self._registry = registry
        self._path = os.fspath(registry.path)
        self._seen: tuple[int, int, int] | None = (0, 0, 0)
        self._table = RouteTable()

    @property
    def table(self) -> RouteTable:
        """Raises what reading the registry raises; then the next look tries again."""
        try:
            stat = os.stat(self._path)  # noqa: PTH116 - half the time of Path.stat, per request
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        except FileNotFoundError:
            seen = None
        if seen != self._seen:
            self._table = RouteTable.of(self._registry.read())
            self._seen = seen
        return self._table
