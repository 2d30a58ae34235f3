"""The processes of one local instance: which they are, and how all of them end."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from kato_manager import process
from kato_manager.errors import StartFailed
from kato_manager.model import Handle
from kato_manager.runtimes.base import Usage

MARK = "KATO_OPERATION"
_FORCED_END_S = 5.0
_POLL_S = 0.02


class Members:
    """Everything that lives of an instance: its session, and what left it but bears the mark.

    A session whose leader has died is the instance's only if one of it bears the mark: its id may
    meanwhile be that of a stranger's session, whose leader has died as well. Once seen to be ours
    it stays so while it lasts, since a pid is not given away as long as a session bears it.
    """

    def __init__(self, handle: Handle) -> None:
        self._port = handle["port"]
        self._leader = handle["pid"]
        self._started = handle["started"]
        self._mark = f"{MARK}={handle['operation']}" if handle["operation"] else ""
        self._owns_session = False

    def pids(self) -> list[int]:
        marked = set(process.marked(self._mark)) if self._mark else set()
        session = set(process.session(self._leader, self._started))
        proven = self._leader in session or not marked.isdisjoint(session)
        self._owns_session = proven or (self._owns_session and bool(session))
        return sorted(marked | session if self._owns_session else marked)

    def end(self, grace_s: float) -> bool:
        """End every one, by force after the grace; False when there was none.

        Raises `StartFailed` when anything is left.
        """
        if not self.pids():
            return False
        if not (
            self._signal_until_gone(signal.SIGTERM, grace_s)
            or self._signal_until_gone(signal.SIGKILL, _FORCED_END_S)
        ):
            left = ",".join(map(str, self.pids()))
            raise StartFailed(
                f"process {left} did not end, not even when killed",
                hint=f"it waits for the kernel, see why: ps -o pid,stat,wchan,cmd -p {left}",
            )
        return True

    def end_and_close(self, grace_s: float) -> None:
        """As `end`, and return only when what listened on their port has closed."""
        serving = _listeners(self._port)
        if self.end(grace_s) and not _wait_until_closed(self._port, serving):
            raise StartFailed(
                f"port {self._port} is still served although the instance has ended",
                hint=f"see who holds it: ss -ltnp sport = :{self._port}",
            )

    def listen(self) -> bool:
        """Whether one of them owns the listening socket on the instance's port."""
        import psutil

        for pid in self.pids():
            with suppress(psutil.Error):
                for connection in psutil.Process(pid).net_connections(kind="tcp"):
                    bound = tuple(connection.laddr)[1:2] == (self._port,)
                    if bound and connection.status == psutil.CONN_LISTEN:
                        return True
        return False

    def usage(self) -> Usage:
        """What they use together; processor time as the mean since each began."""
        import psutil

        cpu, memory, count = 0.0, 0, 0
        for pid in self.pids():
            with suppress(psutil.Error):
                one = psutil.Process(pid)
                age_s = max(time.time() - one.create_time(), 0.01)
                cpu += 100 * sum(one.cpu_times()[:2]) / age_s
                memory += one.memory_info().rss
                count += 1
        return Usage(cpu_percent=cpu, memory_bytes=memory, pids=count)

    def _signal_until_gone(self, sign: signal.Signals, wait_s: float) -> bool:
        """Signal everything of the instance and wait; False when something is left."""
        signalled: set[int] = set()
        deadline = time.monotonic() + wait_s
        while True:
            # The whole of /proc is looked through only when the leader, checked cheaply, is gone.
            waits = signalled and process.is_alive(self._leader, self._started)
            members = [self._leader] if waits else self.pids()
            if not members:
                return True
            for pid in set(members) - signalled:
                with suppress(ProcessLookupError):
                    os.kill(pid, sign)
                signalled.add(pid)
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)


def _wait_until_closed(port: int, sockets: set[str]) -> bool:
    """Whether these listening sockets end; the freed port may at once be another instance's."""
    deadline = time.monotonic() + _FORCED_END_S
    while sockets & _listeners(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _listeners(port: int) -> set[str]:
    """The inodes of the sockets that listen on a port: one socket, whoever inherits it."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
            found |= {row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"}
    return found
