"""`python -m kato_manager.gateway.worker FD PARENT SLOT ...`: one front, started by `serve`."""

import asyncio
import gc
import os
import resource
import signal
import socket
from pathlib import Path

import uvloop

from kato_manager.gateway import lifecycle
from kato_manager.gateway.access_log import AccessLog
from kato_manager.gateway.counters import Counters
from kato_manager.gateway.front import Front
from kato_manager.gateway.health import Unhealthy
from kato_manager.gateway.limits import limits_from
from kato_manager.gateway.routes import Routes
from kato_manager.gateway.security import trusted
from kato_manager.gateway.serve import READY, shared_options
from kato_manager.registry import Registry


def main() -> None:
    parser = shared_options()
    parser.add_argument("fd", type=int)
    parser.add_argument("parent", type=int)
    parser.add_argument("slot", type=int)
    options = parser.parse_args()
    folder = lifecycle.folder(options.home)
    _allow_many_connections()
    listener = socket.socket(fileno=options.fd)
    listener.setblocking(False)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        front = Front(
            routes=Routes(Registry(options.home)),
            control_path=_reachable(folder) / "control.sock",
            counters=Counters(folder / "counters" / f"{options.slot}.counters"),
            log=None if options.no_access_log else AccessLog(folder / "access.log"),
            identity=lifecycle.identity(options.home),
            limits=limits_from(options.limit),
            security=trusted(options.allow_host, options.allow_origin, listen=options.host),
            unhealthy=Unhealthy(options.home),
            loop=loop,
        )
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        gc.freeze()
        os.kill(options.parent, READY)
        await front.serve(listener, stop, is_orphan=lambda: os.getppid() != options.parent)

    uvloop.run(serve())


def _reachable(folder: Path) -> Path:
    """The folder under a short name: the path of a Unix socket may have 107 bytes only."""
    folder.mkdir(mode=0o700, exist_ok=True)
    return Path(f"/proc/self/fd/{os.open(folder, os.O_PATH | os.O_CLOEXEC)}")


def _allow_many_connections() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
