"""The contract every engine keeps, and the abilities some have besides."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

from kato_manager.model import Handle, Instance

State = Literal["running", "exited", "missing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What an engine says about one instance now. An engine that is silent says nothing."""

    state: State
    exit_code: int | None = None
    handle: Handle | None = None
    started_at: datetime | None = None
    reason: str = ""  # in the engine's words, for example "out of memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Something of ours that an engine holds, whether or not the registry knows it.

    `instance` is rebuilt from what the engine keeps (labels, folder); `operation_id` is the start
    that made it.
    """

    instance: Instance
    observed: Observed
    registry_id: str
    operation_id: str
    created_at: datetime


class Runtime(Protocol):
    """Runs instances on one engine.

    Idempotent: stopping what is gone succeeds, starting what runs returns its handle.
    `RuntimeUnavailable` means the engine did not answer; it never means "absent". Methods may be
    called from several threads and processes at once; none of them reads or writes the registry.
    """

    name: str

    def check(self) -> None:
        """Raise `RuntimeUnavailable`, with a hint, unless the engine answers."""

    def start(self, instance: Instance, listener: socket.socket) -> Handle:
        """Launch without waiting for readiness; the listener holds the port until then.

        The runtime passes the listener on, or closes it right before its own bind decides.
        Raises `PortTaken` when that bind loses, `ImageNotFound`, `StartFailed`; nothing is left
        behind then.
        """

    def stop(self, handle: Handle, *, grace_s: float) -> None:
        """Ask to end, wait `grace_s`, force; returns when it is gone and its port is free."""

    def replace(
        self,
        old: Handle,
        new: Instance,
        listener: socket.socket | None,
        ready: Callable[[Handle], None],
    ) -> Handle:
        """Put `new` in the place of `old`, which serves until `ready(new handle)` has returned.

        With a listener `new` has a port of its own and both run side by side for that time;
        without one the port stays, so `old` is stopped (not removed) before `new` starts. When
        anything fails, `ready` included, `old` serves again, nothing of `new` is left, and the
        error is raised.
        """

    def owns(self, handle: Handle) -> bool:
        """Whether this very engine made the handle; asks no more than who the engine is."""

    def inspect(self, handle: Handle) -> Observed: ...

    def logs(self, handle: Handle, *, tail: int | None, follow: bool) -> Iterator[str]:
        """Lines without their ends, oldest first; `tail` None is all."""

    def find(self) -> list[Found]:
        """Everything this engine holds for any registry of ours, in one request."""

    def recover(self, instance: Instance) -> Found | None:
        """Tidy up after the instance's operation, whose process has died, and say what serves.

        At most one thing of the instance is left: what the operation started, if it did, else what
        was there before. `operation.replaces` and `handle` may name the latter.
        """

    def purge(self, instance: Instance) -> None:
        """Delete the instance's data; it must not run."""


@runtime_checkable
class Binds(Protocol):
    def await_bind(self, handle: Handle, timeout_s: float) -> None:
        """Return when what was started listens on its port itself, has died, or the time is up.

        Raises `PortTaken` when a stranger listens there instead; nothing is left behind then.
        """


@runtime_checkable
class Exec(Protocol):
    def exec(self, handle: Handle, command: tuple[str, ...], *, tty: bool) -> int:
        """Run a command beside the processor, connected to our own streams; its exit code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What an instance uses now; None where the engine cannot tell."""

    cpu_percent: float
    memory_bytes: int
    memory_limit_bytes: int | None = None
    received_bytes: int | None = None
    sent_bytes: int | None = None
    pids: int | None = None


@runtime_checkable
class Stats(Protocol):
    def stats(self, handle: Handle) -> Usage: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to an instance: `started died stopped oom healthy unhealthy`."""

    at: datetime
    instance_id: str
    kind: str
    detail: str = ""


@runtime_checkable
class Events(Protocol):
    def events(self, *, since: datetime | None) -> Iterator[Event]:
        """As they happen, without end; after a lost connection the stream goes on by itself."""
