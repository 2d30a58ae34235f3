"""Which port an instance gets. A reservation is a listening socket: the bind decides, no probe."""

import errno
import socket
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from kato_manager.errors import PortTaken

HOST = "127.0.0.1"
LAST_PORT = 65535
BACKLOG = 2048
_BUSY = frozenset({errno.EADDRINUSE, errno.EACCES, errno.EPERM})
_KERNEL = Path("/proc/sys/net/ipv4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which port is wanted: an explicit one, else the one it had (`sticky`), else any of `ports`.

    `strict` refuses to move away from the explicit one.
    """

    ports: range
    explicit: int | None = None
    sticky: int | None = None
    strict: bool = False

    @property
    def first(self) -> int | None:
        return self.explicit or self.sticky


def choose(wish: Wish, *, taken: Collection[int], avoided: Collection[int] = ()) -> socket.socket:
    """Reserve a port: the listening socket is the reservation, its port is the answer.

    `taken` ports are never used, `avoided` ones only when nothing else is left. Call it inside
    `registry.edit()`, where `taken` is true. Raises `PortTaken` when the wish is strict or nothing
    is left.
    """
    for port in _candidates(wish, avoided):
        if port not in taken and (listener := listen(port)):
            return listener
    if wish.strict and wish.explicit:
        raise PortTaken(
            f"port {wish.explicit} is used by {holder(wish.explicit)}",
            hint="leave out --strict-port to take the next free one, or choose another --port",
        )
    raise PortTaken(
        f"no port is free in {wish.ports.start}-{wish.ports.stop - 1}",
        hint="stop an instance, or widen the range: KATO_PORT_RANGE=8001-9999",
    )


def listen(port: int) -> socket.socket | None:
    """A socket that is bound to the port and listens, or None when somebody else has it."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # Past connections in TIME_WAIT must not block a restart; a listening stranger still does.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        # Two sockets may bind one port with SO_REUSEADDR as long as neither listens.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno in _BUSY:
            return None
        raise
    return listener


def holder(port: int) -> str:
    """Who listens on the port, as a phrase; other users' processes show to root only."""
    import psutil

    with suppress(psutil.Error):
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.pid and tuple(connection.laddr)[1:2] == (port,):
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return "another process"


def _candidates(wish: Wish, avoided: Collection[int]) -> Iterator[int]:
    if wish.explicit:
        yield wish.explicit
        if not wish.strict:
            yield from range(wish.explicit + 1, LAST_PORT + 1)
        return
    if wish.sticky:
        yield wish.sticky
    end, reserved = _ephemeral_start(), _reserved()
    usable = [port for port in wish.ports if port < end and port not in reserved]
    yield from chain(
        (port for port in usable if port not in avoided),
        (port for port in usable if port in avoided),
    )


def _ephemeral_start() -> int:
    """From here on the kernel gives ports to outgoing connections."""
    with suppress(OSError, ValueError):
        return int((_KERNEL / "ip_local_port_range").read_text().split()[0])
    return 32768


def _reserved() -> set[int]:
    """Ports an administrator keeps from everybody: "8080,9000-9010"."""
    with suppress(OSError, ValueError):
        text = (_KERNEL / "ip_local_reserved_ports").read_text().strip()
        parts = (part.partition("-") for part in text.split(",") if part)
        return {port for low, _, high in parts for port in range(int(low), int(high or low) + 1)}
    return set()
