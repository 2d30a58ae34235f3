"""Taking new connections: one by one, and none beyond the limit."""

import asyncio
import socket
from typing import TYPE_CHECKING, Any

from kato_manager.gateway.forward import Client

if TYPE_CHECKING:
    from kato_manager.gateway.front import Front


class Acceptor:
    """Takes what waits at the listener; one at a time, so that workers share the load."""

    def __init__(
        self, front: "Front", listener: socket.socket, loop: asyncio.AbstractEventLoop
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
