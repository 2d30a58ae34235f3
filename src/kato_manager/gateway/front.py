"""One front worker: accepts clients, chooses targets, keeps pools, ends in good order."""

import asyncio
import itertools
import json
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

from kato_manager.errors import KatoError
from kato_manager.gateway import balance, problems
from kato_manager.gateway.access_log import AccessLog
from kato_manager.gateway.breaker import Breaker
from kato_manager.gateway.counters import Counters
from kato_manager.gateway.forward import Client
from kato_manager.gateway.hold import Hold
from kato_manager.gateway.limits import Limits
from kato_manager.gateway.problems import Problem
from kato_manager.gateway.requests import Request
from kato_manager.gateway.routes import Group, Match, Route, Routes, unavailable
from kato_manager.gateway.security import Security
from kato_manager.gateway.upstream import Pool, Upstream

TICK_S = 0.5
CONTROL_POLL_S = 0.02
_HOST = "127.0.0.1"


class Front:
    """What all connections of this worker share. `identity` names the gateway's KATO_HOME."""

    def __init__(
        self,
        *,
        routes: Routes,
        control_path: Path,
        counters: Counters,
        log: AccessLog | None,
        identity: str,
        limits: Limits,
        security: Security,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.routes = routes
        self.counters = counters
        self._log = log
        self.identity = identity.encode()
        self.limits = limits
        self.security = security
        self.now = loop.time()  # as of the last tick
        self.is_draining = False
        self.clients: set[Client] = set()
        self._loop = loop
        self._pools: dict[tuple[str, int], Pool] = {}
        self._breakers: dict[str, Breaker] = {}
        self._control = self._new_pool(lambda new: self._reach(os.fspath(control_path), new))
        self._held = Hold(control_path, wake_s=limits.wake_s)
        self._turns = itertools.count()
        self._id_prefix = secrets.token_hex(6)
        self._ids = itertools.count(1)

    async def _reach(self, control_path: str, new: Callable[[], Upstream]) -> Any:
        """Control is there a second after the fronts, also after a crash: the pool's limit waits."""
        while True:
            try:
                return await self._loop.create_unix_connection(new, control_path)
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.sleep(CONTROL_POLL_S)

    def _new_pool(self, connect: Any) -> Pool:
        return Pool(connect, limits=self.limits, clock=lambda: self.now)

    def new_request_id(self) -> bytes:
        return f"{self._id_prefix}-{next(self._ids):x}".encode()

    def match(self, request: Request) -> Match:
        try:
            table = self.routes.table
        except (KatoError, OSError) as error:
            raise Problem(
                status=503,
                code="registry_unreadable",
                detail=f"the registry cannot be read: {error}",
                hint=getattr(error, "hint", ""),
                retry_after_s=5,
            ) from error
        return table.match(request.target, request.hostname)

    def dispatch(self, client: Client) -> None:
        """Give the client's request to a connection of its target; raises `Problem`."""
        target = client.match.target
        route: Route | None = None
        if target is None:
            pool = self._control
        else:
            route = self._choose(target, client)
            if route is None:
                return
            pool = self._pools.get((route.id, route.port)) or self._pool(route)
        client.enter(pool, route)
        # A retry must not meet a second connection that has died meanwhile.
        upstream = None if client.is_retried else pool.take()
        if upstream:
            client.connected(upstream)
        elif pool.is_full:
            raise Problem(
                status=503,
                code="instance_busy",
                detail="all connections to it are in use",
                retry_after_s=1,
            )
        else:
            pool.connect(client)

    def _pool(self, route: Route) -> Pool:
        pool = self._new_pool(lambda new: self._loop.create_connection(new, _HOST, route.port))
        self._pools[route.id, route.port] = pool
        return pool

    def _choose(self, target: Route | Group, client: Client) -> Route | None:
        """None: the request is held until its instance runs."""
        if isinstance(target, Group):
            return self._member(target, client)
        if target.takes_requests:
            return target
        if target.on_demand and not client.is_woken:
            self._held.add(client, target)
            return None
        raise unavailable(target)

    def _member(self, group: Group, client: Client) -> Route:
        members = balance.order(
            group, client.request, pending=self._pending, turn=next(self._turns)
        )
        now = self._loop.time()
        members = [one for one in members if one is not client.route] or members
        for member in members:
            breaker = self._breakers.get(member.id)
            if breaker is None or breaker.allows(now):
                return member
        if members:
            return members[0]
        raise Problem(
            status=503,
            code="group_not_running",
            detail=f"no instance of group {group.id!r} takes requests",
            hint=f"kato list --group {group.id}",
            retry_after_s=1,
            members={"group": group.id, "instances": [one.id for one in group.members]},
        )

    def _pending(self, route: Route) -> int:
        pool = self._pools.get((route.id, route.port))
        return pool.pending if pool else 0

    def failed(self, client: Client) -> None:
        """Its target did not do what it should."""
        if client.route:
            self.counters.failed(client.route.id)
            self._breakers.setdefault(client.route.id, Breaker()).failed(self._loop.time())

    def account(
        self, client: Client, *, status: int, sent_bytes: int, seconds: float, trouble: str
    ) -> None:
        """An exchange is over, however it ended."""
        instance = client.route.id if client.route else ""
        self.counters.end(instance, status=status, seconds=seconds, sent_bytes=sent_bytes)
        if self._log:
            self._log.add(
                client=client.address,
                method=client.request.method,
                target=client.request.target,
                instance=instance,
                status=status,
                sent_bytes=sent_bytes,
                seconds=seconds,
                request_id=client.request_id,
                trouble=trouble,
            )

    def own_answer(self, request: Request, match: Match) -> tuple[int, bytes, bytes] | None:
        """What the front itself says: who this is, and what there is."""
        path = match.path.partition(b"?")[0]
        if path == b"/health":
            body = {"status": "ok", "gateway": self.identity.decode(), "pid": os.getpid()}
            return 200, b"application/json", json.dumps(body).encode() + b"\n"
        if path in {b"/", b"*"}:
            return self._front_page(wants_html=request.wants_html)
        return None

    def _front_page(self, *, wants_html: bool) -> tuple[int, bytes, bytes]:
        targets = list(self.routes.table)
        if not wants_html:
            body = {
                "gateway": self.identity.decode(),
                "instances": [_described(one) for one in targets if isinstance(one, Route)],
                "groups": [_described(one) for one in targets if isinstance(one, Group)],
            }
            return 200, b"application/json", json.dumps(body, ensure_ascii=False).encode() + b"\n"
        rows = "".join(
            f'<tr><td><a href="{one.prefix.decode()}/">{escape(one.id)}</a></td>'
            f"<td>{one.status if isinstance(one, Route) else 'group'}</td></tr>"
            for one in targets
        )
        none = "<p>No instance yet: <code>kato start --id a</code></p>"
        return (
            200,
            b"text/html; charset=utf-8",
            problems.page("kato", f"<table>{rows}</table>" if rows else none),
        )

    # Life

    async def serve(
        self, listener: socket.socket, stop: asyncio.Event, *, is_orphan: Callable[[], bool]
    ) -> None:
        """Accept clients until told to stop, or until nobody is there to tell it; then drain."""
        self._acceptor = _Acceptor(self, listener, self._loop)
        self._acceptor.start()
        while not stop.is_set() and not is_orphan():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), TICK_S)
            self._tick()
        self._acceptor.stop()
        listener.close()
        await self._drain()

    async def _drain(self) -> None:
        self.is_draining = True
        for client in list(self.clients):
            client.drain()
        until = self._loop.time() + self.limits.drain_s
        while self.clients and self._loop.time() < until:
            await asyncio.sleep(TICK_S / 10)
            self._tick()
        for client in list(self.clients):
            client.transport.abort()
        for pool in (self._control, *self._pools.values()):
            pool.close()
        self._tick()
        await asyncio.sleep(0.01)  # for the loop to close what was aborted

    def left(self) -> None:
        """A client has gone: there is room again."""
        self._acceptor.start()

    def _tick(self) -> None:
        now = self.now = self._loop.time()
        for client in list(self.clients):
            if client.deadline < now:
                client.timed_out()
        before = now - self.limits.idle_upstream_s
        self._control.close_idle(before=before)
        for key, pool in list(self._pools.items()):
            pool.close_idle(before=before)
            if pool.is_unused:
                del self._pools[key]
        if self._log:
            self._log.flush()
        self._acceptor.start()


class _Acceptor:
    """Takes new connections one by one, so that workers share them; none beyond the limit."""

    def __init__(
        self, front: Front, listener: socket.socket, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._front = front
        self._listener = listener
        self._loop = loop
        self._is_on = False
        self._is_over = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        if not self._is_on and not self._is_over and self._has_room:
            self._is_on = True
            self._loop.add_reader(self._listener, self._accept)

    def pause(self) -> None:
        if self._is_on:
            self._is_on = False
            self._loop.remove_reader(self._listener)

    def stop(self) -> None:
        self.pause()
        self._is_over = True

    @property
    def _has_room(self) -> bool:
        taken = len(self._front.clients) + len(self._tasks)
        return taken < self._front.limits.connections

    def _accept(self) -> None:
        if not self._has_room:
            self.pause()
            return
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            self.pause()  # no file descriptors left; the next tick tries again
            return
        connection.setblocking(False)
        task = self._loop.create_task(
            self._loop.connect_accepted_socket(lambda: Client(self._front), connection)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _described(target: Route | Group) -> dict[str, Any]:
    common = {"id": target.id, "url": f"{target.prefix.decode()}/"}
    if isinstance(target, Group):
        return {**common, "instances": [one.id for one in target.members]}
    return {**common, "status": target.status.value}
