"""The control process's application in a thread, over a home of its own and a real socket."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import httpx
import pytest

from homes import Home, home, wait_until
from kato_manager.gateway.api.context import Context
from kato_manager.gateway.control import Server, context_for, listening
from kato_manager.gateway.lifecycle import CONTROL_SOCKET

__all__ = ["home"]

THROUGH_FRONT = {"X-Forwarded-For": "127.0.0.1"}  # what a front adds for a program on this machine


@dataclass
class Served:
    """A client of the application, and what the application works with."""

    client: httpx.Client
    context: Context

    def __getattr__(self, method: str) -> Callable[..., httpx.Response]:
        return getattr(self.client, method)


Opened = Callable[[], AbstractContextManager[Served]]


@pytest.fixture
def opened(home: Home) -> Opened:
    """Open the application when the test has prepared the home."""

    @contextmanager
    def open_it() -> Iterator[Served]:
        closing = threading.Event()
        folder = home.path / "gateway"
        folder.mkdir(exist_ok=True)
        context = context_for(home.settings, home.environ, is_closing=closing.is_set)
        server = Server(context)
        with listening(folder) as listener:
            thread = threading.Thread(
                target=lambda: asyncio.run(server.serve_with_timers(listener))
            )
            thread.start()
            wait_until(lambda: server.started)
            transport = httpx.HTTPTransport(uds=str(folder / CONTROL_SOCKET))
            with httpx.Client(transport=transport, base_url="http://localhost", timeout=30) as one:
                try:
                    yield Served(one, context)
                finally:
                    closing.set()
                    server.should_exit = True
                    thread.join()

    return open_it


@pytest.fixture
def api(opened: Opened) -> Iterator[Served]:
    with opened() as client:
        yield client
