"""One front worker: accepts clients, chooses targets, keeps pools, ends in good order."""

import asyncio
import itertools
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kato_manager.errors import KatoError
from kato_manager.gateway import balance
from kato_manager.gateway.accept import Acceptor
from kato_manager.gateway.access_log import AccessLog
from kato_manager.gateway.answering import Answering
from kato_manager.gateway.breaker import Breaker
from kato_manager.gateway.counters import Counters
from kato_manager.gateway.exchange import ClientExchange
from kato_manager.gateway.health import Unhealthy
from kato_manager.gateway.hold import Hold
from kato_manager.gateway.limits import Limits
from kato_manager.gateway.pool import Pool
from kato_manager.gateway.problems import Problem
from kato_manager.gateway.requests import Request
from kato_manager.gateway.routes import Group, Match, Route, Routes, unavailable
from kato_manager.gateway.security import Security
from kato_manager.gateway.upstream import Upstream

if TYPE_CHECKING:
    from kato_manager.gateway.forward import Client

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
        unhealthy: Unhealthy,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.routes = routes
        self.counters = counters
        self._log = log
        self.identity = identity
        self.limits = limits
        self.security = security
        self.now = loop.time()  # as of the last tick
        self.date_line = _date_line()
        self.is_draining = False
        self.clients: set[Client] = set()
        self._loop = loop
        self._pools: dict[tuple[str, int], Pool] = {}
        self._breakers: dict[str, Breaker] = {}
        self._unhealthy = unhealthy
        self._control = Pool(
            lambda new: self._reach(os.fspath(control_path), new),
            limits=replace(limits, connect_s=limits.control_s),
            clock=lambda: self.now,
        )
        self._held = Hold(control_path, wake_s=limits.wake_s)
        self._turns = itertools.count()
        self._id_prefix = secrets.token_hex(6)
        self._ids = itertools.count(1)

    async def _reach(self, control_path: str, new: Callable[[], Upstream]) -> Any:
        """Control comes a second after the fronts, also after a crash; the pool's limit ends it."""
        while True:
            try:
                return await self._loop.create_unix_connection(new, control_path)
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.sleep(CONTROL_POLL_S)

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

    def dispatch(self, client: ClientExchange) -> None:
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
        pool = Pool(
            lambda new: self._loop.create_connection(new, _HOST, route.port),
            limits=self.limits,
            clock=lambda: self.now,
        )
        self._pools[route.id, route.port] = pool
        return pool

    def _choose(self, target: Route | Group, client: ClientExchange) -> Route | None:
        """None: the request is held until its instance runs."""
        if isinstance(target, Group):
            return self._member(target, client)
        if target.takes_requests:
            return target
        if target.on_demand and not client.is_woken:
            self._held.add(client, target)
            return None
        raise unavailable(target)

    def _member(self, group: Group, client: ClientExchange) -> Route | None:
        members = balance.order(
            group, client.request, pending=self._pending, turn=next(self._turns)
        )
        now = self._loop.time()
        members = [one for one in members if one is not client.route] or members
        ill = self._unhealthy.ids
        members = [one for one in members if one.id not in ill] or members
        for member in members:
            breaker = self._breakers.get(member.id)
            if breaker is None or breaker.allows(now):
                return member
        if members:
            return members[0]
        asleep = balance.to_wake(group, client.request)
        if asleep and not client.is_woken:
            self._held.add(client, asleep)
            return None
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

    def failed(self, client: ClientExchange) -> None:
        """Its target did not do what it should."""
        if client.route:
            self.counters.failed(client.route.id)
            self._breakers.setdefault(client.route.id, Breaker()).failed(self._loop.time())

    def account(
        self, client: Answering, *, status: int, sent_bytes: int, seconds: float, trouble: str
    ) -> None:
        """An exchange is over, however it ended."""
        instance = client.route.id if client.route else ""
        if not trouble:
            self._breakers.pop(instance, None)
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

    # Life

    async def serve(
        self, listener: socket.socket, stop: asyncio.Event, *, is_orphan: Callable[[], bool]
    ) -> None:
        """Accept clients until told to stop, or until nobody is there to tell it; then drain."""
        self._acceptor = Acceptor(self, listener, self._loop)
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
        self.date_line = _date_line()
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


def _date_line() -> bytes:
    """For answers that have none (RFC 9110, 6.6.1)."""
    return f"Date: {formatdate(usegmt=True)}\r\n".encode()
