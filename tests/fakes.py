"""Runtimes that fail in one way each, and are quick and exact otherwise.

    Slow           starts only when `go` is set        NeverReady     its health is 503
    DiesAtStart    exits before it is ready            PortThief      loses each port to a stranger
    Unreachable    the engine does not answer

Each serves real HTTP on the listener it is given. Put one in place of the local runtime with
`manager.runtimes.use(fake)`.
"""

# ruff: noqa: ARG002 - a fake has the signature of what it stands for
import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count

from homes import DEADLINE_S
from kato_manager.errors import PortTaken, RuntimeUnavailable
from kato_manager.model import Handle, Instance
from kato_manager.runtimes.base import Found, Observed


class FakeRuntime:
    """An engine in this process: an instance is a thread that answers on the listener."""

    name = "local"
    health = 200

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self._numbers = count(1)
        self._running: dict[int, tuple[Instance, http.server.HTTPServer]] = {}

    @property
    def running(self) -> list[str]:
        return [instance.id for instance, _ in self._running.values()]

    def check(self) -> None:
        pass

    def start(self, instance: Instance, listener: socket.socket) -> Handle:
        self.calls.append(("start", instance.id))
        number = next(self._numbers)
        self._running[number] = instance, _served(instance, listener, self.health)
        return {"kind": "fake", "number": number}

    def stop(self, handle: Handle, *, grace_s: float) -> None:
        instance, server = self._running.pop(handle["number"], (None, None))
        if server and instance:
            self.calls.append(("stop", instance.id))
            server.shutdown()
            server.server_close()

    def replace(
        self,
        old: Handle,
        new: Instance,
        listener: socket.socket | None,
        ready: Callable[[Handle], None],
    ) -> Handle:
        assert listener, "the fake replaces side by side only"
        handle = self.start(new, listener)
        try:
            ready(handle)
        except BaseException:
            self.stop(handle, grace_s=0)
            raise
        self.stop(old, grace_s=0)
        return handle

    def owns(self, handle: Handle) -> bool:
        return handle["kind"] == "fake"

    def inspect(self, handle: Handle) -> Observed:
        if handle["number"] in self._running:
            return Observed(state="running", handle=handle)
        return Observed(state="missing", handle=handle)

    def logs(self, handle: Handle, *, tail: int | None, follow: bool) -> Iterator[str]:
        return iter(("first line", "last line")[-tail:] if tail else ("first line", "last line"))

    def find(self) -> list[Found]:
        return []

    def recover(self, instance: Instance) -> Found | None:
        return None

    def purge(self, instance: Instance) -> None:
        self.calls.append(("purge", instance.id))

    def close(self) -> None:
        for number in list(self._running):
            self.stop({"number": number}, grace_s=0)


class Slow(FakeRuntime):
    """`began` is set when a start has come as far as the engine, which then waits for `go`."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.go = threading.Event(), threading.Event()

    def start(self, instance: Instance, listener: socket.socket) -> Handle:
        self.began.set()
        assert self.go.wait(DEADLINE_S)
        return super().start(instance, listener)


class NeverReady(FakeRuntime):
    health = 503


class DiesAtStart(FakeRuntime):
    def start(self, instance: Instance, listener: socket.socket) -> Handle:
        self.calls.append(("start", instance.id))
        listener.close()
        return {"kind": "fake", "number": 0}

    def inspect(self, handle: Handle) -> Observed:
        return Observed(state="exited", exit_code=3, handle=handle, reason="out of memory")


class PortThief(FakeRuntime):
    """A stranger takes the port between the end of the reservation and the engine's bind."""

    def __init__(self, thefts: int) -> None:
        super().__init__()
        self.stolen: list[socket.socket] = []
        self._thefts = thefts

    def start(self, instance: Instance, listener: socket.socket) -> Handle:
        if len(self.stolen) == self._thefts:
            return super().start(instance, listener)
        listener.close()
        self.stolen.append(socket.create_server(("127.0.0.1", instance.port)))
        raise PortTaken(f"port {instance.port} is already allocated")

    def close(self) -> None:
        super().close()
        for thief in self.stolen:
            thief.close()


class Unreachable(FakeRuntime):
    """An engine that answers no more; what it runs is unknown, not gone."""

    def _silent(self) -> RuntimeUnavailable:
        return RuntimeUnavailable("the engine did not answer", hint="start it")

    def start(self, instance: Instance, listener: socket.socket) -> Handle:
        listener.close()
        raise self._silent()

    def stop(self, handle: Handle, *, grace_s: float) -> None:
        raise self._silent()

    def inspect(self, handle: Handle) -> Observed:
        raise self._silent()

    def recover(self, instance: Instance) -> Found | None:
        raise self._silent()


def _served(instance: Instance, listener: socket.socket, health: int) -> http.server.HTTPServer:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"instance_id": instance.id}).encode()
            with suppress(OSError):
                self.send_response(health)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(
        listener.getsockname(), Handler, bind_and_activate=False
    )
    server.socket.close()
    server.socket = listener
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server
