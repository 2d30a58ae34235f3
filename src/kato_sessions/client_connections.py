"""Kept connections of the client: opened when needed, left out when the server has closed them."""

import http.client
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from urllib.parse import urlsplit


class Connections:
    """Idle connections of one server, handed out one thread at a time."""

    def __init__(self, base_url: str, timeout_s: float) -> None:
        parts = urlsplit(base_url)
        self.prefix = parts.path.rstrip("/")
        secure = parts.scheme == "https"
        kind: type[http.client.HTTPConnection]
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._new = partial(kind, parts.hostname or "", parts.port, timeout=timeout_s)
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    @contextmanager
    def one(self) -> Iterator[http.client.HTTPConnection]:
        connection = self._take()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._idle.append(connection)

    def close(self) -> None:
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def _take(self) -> http.client.HTTPConnection:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                connection = self._new()
                connection.connect()
                connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection
            if connection.sock is not None and not _readable(connection.sock):
                return connection
            connection.close()


def _readable(sock: socket.socket) -> bool:
    """An idle connection has nothing to say unless the server has closed it."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
