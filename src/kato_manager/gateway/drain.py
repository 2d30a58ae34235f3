"""Asks the control process to wait until nothing is in flight to an instance.

POST /internal/drain/<id>?grace_s=10    ->  {"in_flight": 0, "websockets": 0}
"""

import http.client
import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from kato_manager.gateway.counters import Counts
    from kato_manager.gateway.idle import Counted

CONNECT_S = 0.5
_POLL_S = 0.02
_SLACK_S = 5.0  # for the answer after the grace is over


def drain(home: Path, instance_id: str, grace_s: float) -> bool:
    """Wait until the instance, recorded as `stopping`, has nothing in flight.

    False when the grace was over first, or when no control process answers: then nobody forwards
    to it, or nobody knows. Raises nothing.
    """
    try:
        path = f"/internal/drain/{quote(instance_id, safe='')}?grace_s={grace_s:g}"
        left = ask(home, "POST", path, timeout_s=grace_s + _SLACK_S)
    except (OSError, http.client.HTTPException, ValueError):
        return False
    return not any(left.get(key, 1) for key in ("in_flight", "websockets"))


def wait_until_quiet(counted: "Counted", instance_id: str, grace_s: float) -> "Counts":
    """The same for the control process itself; what was in flight in the end."""
    from kato_manager.gateway.idle import NONE, is_quiet

    until_s = time.monotonic() + grace_s
    while True:
        # First a pause: a front that has just looked up the route counts it in a moment.
        time.sleep(_POLL_S)
        counts = counted().get(instance_id, NONE)
        if is_quiet(counts) or time.monotonic() >= until_s:
            return counts


def ask(home: Path, method: str, path: str, *, timeout_s: float) -> Mapping[str, Any]:
    """One request to the control process; its JSON object."""
    connection = _Connection(home / "gateway" / "control.sock", timeout_s)
    try:
        connection.request(method, path, headers={"Host": "localhost"})
        answer = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else {}


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path
        self._timeout_s = timeout_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_S)
        # Through its folder: a path of a Unix socket may have 107 bytes only.
        folder = os.open(self._path.parent, os.O_PATH | os.O_CLOEXEC)
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)
        self.sock.settimeout(self._timeout_s)
