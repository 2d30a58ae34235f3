"""Wait until an instance serves: it answers its health path, and the answer is its own."""

import http.client
import json
import time
from collections.abc import Callable, Iterable

from kato_manager.errors import NotReady, StartFailed
from kato_manager.model import Instance
from kato_manager.runtimes.base import Observed

FIRST_PAUSE_S = 0.05
LAST_PAUSE_S = 1.0
_GROWTH = 1.3
_ATTEMPT_S = 1.0  # a passed listener queues the request until the program accepts it
_LOG_LINES = 15


def wait(
    instance: Instance,
    *,
    observe: Callable[[], Observed],
    last_lines: Callable[[int], Iterable[str]],
    timeout_s: float | None = None,
    begun: float | None = None,
) -> None:
    """Return when the instance is ready.

    It only reads: nothing of the instance's data is changed. Raises `StartFailed` as soon as it
    has died, `NotReady` after `timeout_s` (its own when None), counted from `begun` by the
    monotonic clock, or from now; both with the last log lines, which may be gone afterwards.
    """
    limit_s = instance.spec.ready_timeout_s if timeout_s is None else timeout_s
    deadline = (time.monotonic() if begun is None else begun) + limit_s
    pause_s = FIRST_PAUSE_S
    while problem := probe(instance):
        observed = observe()
        if observed.state != "running":
            said = _death(instance, observed) + _quoted(last_lines(_LOG_LINES))
            raise StartFailed(said, hint=_where_its_log_is(instance))
        if time.monotonic() >= deadline:
            said = f"instance {instance.id!r} was not ready after {limit_s:g} s: {problem}"
            raise NotReady(said + _quoted(last_lines(_LOG_LINES)), hint=_what_to_try(instance))
        time.sleep(min(pause_s, max(0.0, deadline - time.monotonic())))
        pause_s = min(pause_s * _GROWTH, LAST_PAUSE_S)


def probe(instance: Instance, attempt_s: float = _ATTEMPT_S) -> str:
    """Ask once; empty when the instance itself says that it is well, else what is wrong."""
    health = instance.spec.launch.health
    connection = http.client.HTTPConnection("127.0.0.1", instance.port, timeout=attempt_s)
    try:
        connection.request("GET", health.path)
        response = connection.getresponse()
        body = response.read(1_000_000)
    except (OSError, http.client.HTTPException) as error:
        cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return f"GET {health.path} on port {instance.port}: {cause}"
    finally:
        connection.close()
    if not 200 <= response.status < 300:  # noqa: PLR2004 - success, RFC 9110 15.3
        return f"GET {health.path} answered {response.status}"
    return _stranger(instance, body) if health.identity else ""


def _stranger(instance: Instance, body: bytes) -> str:
    try:
        claimed = json.loads(body)[instance.spec.launch.health.identity]
    except (ValueError, LookupError, TypeError):
        return f"port {instance.port} is answered by something else"
    return "" if claimed == instance.id else f"port {instance.port} is answered by {claimed!r}"


def _death(instance: Instance, observed: Observed) -> str:
    code = "" if observed.exit_code is None else f" with exit code {observed.exit_code}"
    reason = f" ({observed.reason})" if observed.reason else ""
    return f"instance {instance.id!r} ended{code}{reason} before it was ready"


def _quoted(lines: Iterable[str]) -> str:
    return "".join(f"\n  | {line}" for line in lines)


def _where_its_log_is(instance: Instance) -> str:
    """A container's log ends with it; a local instance's outlives even its entry."""
    return f"kato logs {instance.id}" if instance.runtime == "local" else ""


def _what_to_try(instance: Instance) -> str:
    longer = "give it longer with --timeout"
    if log := _where_its_log_is(instance):
        return f"{longer}; see {log}"
    launch = instance.spec.launch
    asked = f"container_port {launch.container_port}, health {launch.health.path}"
    return f"{longer}, or set where it answers; it was asked at {asked}"
