"""`python -m kato_manager.gateway.control --home H`: the one process with timers and the HTTP API.

It listens on `<home>/gateway/control.sock`, which belongs to the user alone, and there is one of it
in a home. It may die at any moment: all it knows is in the registry and in the fronts' counters.
"""

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import uvicorn
import uvloop

from kato_manager import lock
from kato_manager.errors import KatoError
from kato_manager.gateway import counters, lifecycle, token
from kato_manager.gateway.api.app import create_app
from kato_manager.gateway.api.context import Context
from kato_manager.gateway.drain import wait_until_quiet
from kato_manager.gateway.idle import Activity
from kato_manager.gateway.keeper import Keeper, say
from kato_manager.gateway.sessions.places import places_of
from kato_manager.gateway.tuning import tuning_of
from kato_manager.gateway.wake import Waker
from kato_manager.manager import Manager
from kato_manager.settings import Settings

THREADS = 32  # starts, stops and health checks wait in them
_OTHER_ENDS_S = 15.0  # a control process that is being replaced finishes what it does
_STREAMS_END_S = 3
_ORPHAN_CHECK_S = 0.5


def main(words: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM; exits with 1 and a line in the log when that is impossible."""
    parser = argparse.ArgumentParser("kato_manager.gateway.control")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--parent", type=int, default=os.getppid(), help="ends when this has ended")
    options = parser.parse_args(words)
    home = options.home.absolute()
    try:
        environ = {**os.environ, "KATO_HOME": str(home)}
        run(Settings.load(environ), environ, parent=options.parent)
    except KatoError as error:
        say(f"{error}{f' ({error.hint})' if error.hint else ''}")
        sys.exit(1)


def run(settings: Settings, environ: Mapping[str, str], *, parent: int) -> None:
    """Be the control process of this home; raises `RegistryLocked` when another one stays."""
    folder = settings.home / "gateway"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "control.lock"
    with lock.held(path, what="control of the gateway", timeout_s=_OTHER_ENDS_S):
        uvloop.run(_serve(settings, environ, folder, parent=parent))


async def _serve(
    settings: Settings, environ: Mapping[str, str], folder: Path, *, parent: int
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS, "control"))
    closing = asyncio.Event()
    context = context_for(settings, environ, is_closing=closing.is_set)
    server = Server(context)

    def end() -> None:
        closing.set()
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    orphaned = asyncio.create_task(_when_orphaned(parent, end))
    try:
        with listening(folder) as listener:  # not before all is known to be right
            await server.serve_with_timers(listener)
    finally:
        orphaned.cancel()


async def _when_orphaned(parent: int, end: Callable[[], None]) -> None:
    """Nobody would end or replace us once the supervisor is gone; its successor waits for us."""
    while os.getppid() == parent:  # noqa: ASYNC110 - the kernel has no event for it
        await asyncio.sleep(_ORPHAN_CHECK_S)
    end()


class Server(uvicorn.Server):
    """The application with its timers; the signals are left to others."""

    def __init__(self, context: Context) -> None:
        self._keeper = context.keeper
        super().__init__(
            uvicorn.Config(
                create_app(context),
                access_log=False,
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=_STREAMS_END_S,
            )
        )

    def capture_signals(self) -> "nullcontext[None]":  # type: ignore[override]
        return nullcontext()

    async def serve_with_timers(self, listener: socket.socket) -> None:
        """Until told to exit; a timer that fails ends the serving too, and raises."""
        async with self._keeper.running():
            await self.serve(sockets=[listener])


def context_for(
    settings: Settings, environ: Mapping[str, str], *, is_closing: Callable[[], bool]
) -> Context:
    """All that the application needs, for the home of the settings."""

    def counted() -> dict[str, counters.Counts]:
        return counters.read(counters.folder(settings.home))

    def drain(instance_id: str, grace_s: float) -> None:
        wait_until_quiet(counted, instance_id, grace_s)

    manager = Manager.of(settings, environ, on_note=say, drain=drain)
    manager.settle_all()
    tuning = tuning_of(settings.config)
    places_of(settings, environ).guards()  # wrong ones end us with the reason, before we serve
    activity = Activity()
    return Context(
        manager=manager,
        keeper=Keeper(manager, activity=activity, counted=counted, tuning=tuning),
        waker=Waker(manager, activity=activity, counted=counted, max_running=tuning.max_running),
        counted=counted,
        token=token.ensure(settings.home),
        settings=lambda: _as_served(settings),
        is_closing=is_closing,
    )


def _as_served(settings: Settings) -> Settings:
    running = lifecycle.status(settings)
    return replace(settings, gateway_port=running.port) if running else settings


@contextmanager
def listening(folder: Path) -> Iterator[socket.socket]:
    """The socket, in its place at once and with the mode that it is to have."""
    temporary = f".{lifecycle.CONTROL_SOCKET}.{os.getpid()}"
    descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    mask = os.umask(0o177)
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Through its folder: a path of a Unix socket may have 107 bytes only.
        listener.bind(f"/proc/self/fd/{descriptor}/{temporary}")
    finally:
        os.umask(mask)
        os.close(descriptor)
    listener.listen(1024)
    (folder / temporary).replace(folder / lifecycle.CONTROL_SOCKET)
    with listener:
        yield listener
    (folder / lifecycle.CONTROL_SOCKET).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
