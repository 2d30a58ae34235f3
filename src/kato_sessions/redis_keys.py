"""Names of keys in Redis; which they are is told in `redis.py`."""

import json
from typing import Any
from urllib.parse import parse_qsl, urlencode

from kato_sessions.backend import Filter
from kato_sessions.model import Session


class Keys:
    """The keys of one store; `prefix` stands before the id of a session's record."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._space = prefix.removesuffix("session:")

    def of(self, session_id: str) -> list[str]:
        """Record, items, workspace, idempotency keys, then the indexes `due` and `owners`, turn."""
        return [
            f"{self._prefix}{session_id}",
            *(self.named(kind, session_id) for kind in ("items", "workspace", "keys")),
            self.index("due"),
            self.index("owners"),
            self.named("turn", session_id),
        ]

    def named(self, kind: str, name: str) -> str:
        return f"{self._space}session-{kind}:{name}"

    def index(self, name: str) -> str:
        return self.named("index", name)

    def owned(self, index: str, user_id: str | None, node_id: str | None) -> list[str]:
        """The index over all, then the same per user and per node where there is one."""
        part = "" if index == "expiry" else f"{index}:"
        keys = [self.index(index)]
        if user_id is not None:
            keys.append(self.index(f"{part}user:{user_id}"))
        if node_id is not None:
            keys.append(self.index(f"{part}node:{node_id}"))
        return keys

    def narrowest(self, index: str, wanted: Filter) -> str:
        node_id = wanted.node_id if wanted.user_id is None else None
        return self.owned(index, wanted.user_id, node_id)[-1]

    def commit_spec(self, session: Session, found: Session | None) -> dict[str, Any]:
        """Which indexes a commit of `session` enters, leaves and counts."""
        owners = (session.user_id, session.node_id)
        before = (found.user_id, found.node_id) if found else owners
        left = set(self.owned("expiry", *before)) - set(self.owned("expiry", *owners))
        left |= set(self.owned("created", *before)) - set(self.owned("created", *owners))
        return {
            "limit_keys": [self.owned("expiry", session.user_id, None)[-1], self.index("expiry")],
            "leave": sorted(left),
            "expiry": self.owned("expiry", *owners),
            "created": self.owned("created", *owners),
            "owners": json.dumps(owners),
        }


def split_prefix(url: str) -> tuple[str, str]:
    """The URL of the server, and the prefix that its query names."""
    server, _, query = url.partition("?")
    options = dict(parse_qsl(query))
    prefix = options.pop("prefix", "session:")
    return (f"{server}?{urlencode(options)}" if options else server), prefix
