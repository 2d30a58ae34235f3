"""Listens and serves: one process, or several that share the listening socket."""

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import asyncio

    from starlette.types import ASGIApp

LOG = logging.getLogger("kato_processor")
BACKLOG = 2048
GRACE_S = 10


def listening_socket(*, host: str, port: int, fd: int | None) -> socket.socket:
    """The socket handed over by the parent process, or a new one bound here.

    Raises OSError that names the descriptor or the address it cannot use.
    """
    if fd is not None:
        try:
            return socket.socket(fileno=os.dup(fd))  # the parent's descriptor stays its own
        except OSError as error:
            raise OSError(error.errno, f"descriptor {fd}: {error.strerror}") from error
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's delay off only where the protocol is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def start_logging(level: str) -> None:
    """Write our lines to stderr from this level on."""
    logging.addLevelName(5, "TRACE")  # uvicorn's word
    logging.basicConfig(format="%(asctime)s %(process)d %(levelname)s %(message)s")
    LOG.setLevel(level)


def address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: "ASGIApp", listener: socket.socket, *, log_level: str) -> None:
    """Answer until SIGTERM or SIGINT, then finish what is in flight and close the app."""
    import uvicorn

    # uvicorn raises the signal again once it has stopped: a stop on request is a success.
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _exit)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws=cast("Any", _websocket_protocol),  # any maker of a protocol will do
        lifespan="on",
        log_config=None,
        log_level="warning" if log_level == "INFO" else log_level.lower(),  # ours says it shorter
        access_log=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_S,
        server_header=False,
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        LOG.info("stopped")


def _websocket_protocol(**arguments: Any) -> "asyncio.Protocol":
    """What speaks to a WebSocket client; imported when the first one comes."""
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    return WebSocketsSansIOProtocol(**arguments)


def _exit(_signum: int, _frame: object) -> None:
    raise SystemExit(0)


def serve_many(work: Callable[[], int], workers: int) -> int:
    """Run `work` in several child processes; stop all when one fails or a signal comes."""
    children = {pid for _ in range(workers) if (pid := _forked(work))}

    def stop(_signum: int, _frame: object) -> None:
        """A second SIGINT would cut requests short, and a terminal sends one to everybody."""
        for pid in children:
            os.kill(pid, signal.SIGTERM)

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, stop)
    worst = 0
    while children:
        pid, status = os.wait()
        children.discard(pid)
        code = os.waitstatus_to_exitcode(status)
        if code not in (0, -signal.SIGTERM, -signal.SIGINT):
            LOG.error("worker %d ended with code %d: stopping", pid, code)
            worst = worst or max(code, 1)
            stop(signal.SIGTERM, None)
    return worst


def _forked(work: Callable[[], int]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        code = work()
    except SystemExit:
        os._exit(0)
    except BaseException:  # noqa: BLE001 - the child must never run the parent's code
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(code)
