"""What lives, found out cheaply: /proc for local processes, one round of TCP connects for all."""

import errno
import select
import socket
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack

from kato_manager import process
from kato_manager.model import Instance
from kato_manager.ports import HOST

CONNECT_S = 0.25


def words(instances: Mapping[str, Instance]) -> dict[str, str]:
    """Id -> one of: starting running exited unreachable stopping stopped failed.

    No engine is asked, so a container whose port is closed is `unreachable`; `kato status` knows.
    """
    alive = {one for one, instance in instances.items() if _lives(instance)}
    open_ports = answering({instances[one].port for one in alive})
    return {
        one: _word(instance, lives=one in alive, answers=instance.port in open_ports)
        for one, instance in instances.items()
    }


def answering(ports: Collection[int], timeout_s: float = CONNECT_S) -> set[int]:
    """Those of the local ports that accept a connection, all tried at the same time."""
    answered: set[int] = set()
    with ExitStack() as sockets:
        waiting: dict[int, tuple[socket.socket, int]] = {}
        poll = select.poll()
        for port in ports:
            one = sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            one.setblocking(False)
            code = one.connect_ex((HOST, port))
            if code == errno.EINPROGRESS:
                waiting[one.fileno()] = (one, port)
                poll.register(one, select.POLLOUT)
            elif code == 0:
                answered.add(port)
        deadline = time.monotonic() + timeout_s
        while waiting and (left_s := deadline - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(left_s * 1000):
                poll.unregister(descriptor)
                one, port = waiting.pop(descriptor)
                if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    answered.add(port)
    return answered


def _lives(instance: Instance) -> bool:
    """Whether it is worth a connect: an engine's containers always, a local process if alive."""
    if instance.runtime != "local":
        return bool(instance.port)
    handle = instance.handle
    return handle is not None and process.is_alive(handle["pid"], handle["started"])


def _word(instance: Instance, *, lives: bool, answers: bool) -> str:
    if lives and answers:
        return str(instance.status) if instance.is_live else "running"
    if not instance.is_live:
        return str(instance.status)
    starting = instance.operation and process.is_alive(
        instance.operation.pid, instance.operation.started
    )
    if starting:
        return str(instance.status)
    return "unreachable" if lives else "exited"
