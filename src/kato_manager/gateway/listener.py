"""The gateway's port: to listen on it, and to ask who answers there."""

import errno
import os
import socket
import time
from contextlib import suppress

from kato_manager.errors import ConfigError, PortTaken

LOOPBACK = "127.0.0.1"
_OF_ALL = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 - where this machine reaches them
_BACKLOG = 4096
_POLL_S = 0.02


def url(host: str, port: int) -> str:
    """What a user types to reach it."""
    name = "localhost" if host == LOOPBACK else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"


def listen(host: str, port: int, *, identity: str, patience_s: float) -> socket.socket:
    """A listening socket; raises `PortTaken`, and `ConfigError` for a host that is not here.

    Fronts whose supervisor was killed end by themselves in a moment: while `identity` answers on
    the port, they are waited for.
    """
    until = time.monotonic() + patience_s
    while True:
        try:
            return _bind(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise _impossible(host, port, error) from error
            answered = ask(host, port)
            if answered != identity or time.monotonic() > until:
                raise PortTaken(
                    f"port {port} is used by {_holder(answered, port, identity)}",
                    hint=f"end it, or choose another port: KATO_GATEWAY_PORT={port + 1000}",
                ) from error
        time.sleep(_POLL_S)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _impossible(host: str, port: int, error: OSError) -> ConfigError:
    why = (error.strerror or os.strerror(error.errno or 0)).lower()
    return ConfigError(
        f"nobody can listen on {host}, port {port}, here: {why}",
        hint="--host takes an address of this machine, KATO_GATEWAY_PORT one above 1023",
    )


def _holder(answered: str, port: int, identity: str) -> str:
    from kato_manager import ports

    if answered == identity:
        return "a gateway of this KATO_HOME that is just ending"
    if answered:
        return f"the gateway of another KATO_HOME, {ports.holder(port)}"
    return ports.holder(port)


def ask(host: str, port: int, *, timeout_s: float = 1.0) -> str:
    """The identity of the gateway that listens there; empty if none does."""
    address = _OF_ALL.get(host, host), port
    with suppress(OSError), socket.create_connection(address, timeout_s) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        head = connection.recv(4096).decode("latin-1").lower()
        _, found, rest = head.partition("\r\nx-kato-gateway:")
        return rest.partition("\r\n")[0].strip() if found else ""
    return ""
