"""Instances as processes of this machine: each leads a session of its own, in a folder of its own.

    KATO_HOME/instances/<container>/
        instance.json     the instance as started and, once known, its handle
        processor.log     what it prints; the one before as processor.log.1
        data/             its working folder; survives everything but --purge

A process carries `KATO_OPERATION=<id of the start>` in its environment. That finds what a killed
start left behind, and children that left the session.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from kato_manager import process
from kato_manager.errors import PortTaken, StartFailed
from kato_manager.files import make_private, write_atomically
from kato_manager.model import Handle, Instance, Json, instance_from_json, to_json
from kato_manager.runtimes.base import Found, Observed, Usage

HOST = "127.0.0.1"
MARK = "KATO_OPERATION"
LOG_LIMIT_BYTES = 10 * 1024 * 1024
_FORCED_END_S = 5.0
_POLL_S = 0.02
_FOLLOW_POLL_S = 0.2


class LocalRuntime:
    """The runtime that needs no engine. See `runtimes.base.Runtime` for the contract."""

    name = "local"

    def __init__(self, home: Path, environ: Mapping[str, str]) -> None:
        self._folders = home / "instances"
        self._environ = environ
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def check(self) -> None:
        """There is always a local machine."""

    def start(self, instance: Instance, listener: socket.socket) -> Handle:
        folder = self._prepare(instance)
        port = int(listener.getsockname()[1])
        with listener:
            passed = listener if instance.spec.launch.listen == "fd" else None
            if passed is None:
                listener.close()
            child = self._spawn(instance, folder, port, passed)
        handle = _handle(child.pid, instance, port)
        _write_record(folder, instance, handle)
        return handle

    def await_bind(self, handle: Handle, timeout_s: float) -> None:
        if handle["listen"] == "fd":
            return
        deadline = time.monotonic() + timeout_s
        while self.inspect(handle).state == "running" and time.monotonic() < deadline:
            if _answers(handle["port"]):
                break
            time.sleep(_POLL_S)
        if _answers(handle["port"]) and not _listens(handle):
            self._end(handle, grace_s=0)
            raise PortTaken(f"port {handle['port']} was taken before the instance could bind it")

    def stop(self, handle: Handle, *, grace_s: float) -> None:
        serving = _listeners(handle["port"])
        if not self._end(handle, grace_s):
            return
        if not _wait_until_closed(handle["port"], serving):
            raise StartFailed(
                f"port {handle['port']} is still served although the instance has ended",
                hint=f"see who holds it: ss -ltnp sport = :{handle['port']}",
            )

    def _end(self, handle: Handle, grace_s: float) -> bool:
        """End every process of the instance; False when there was none."""
        if not _members(handle):
            self._reap(handle)
            return False
        if not (
            self._signal_until_gone(handle, signal.SIGTERM, grace_s)
            or self._signal_until_gone(handle, signal.SIGKILL, _FORCED_END_S)
        ):
            left = ",".join(map(str, _members(handle)))
            raise StartFailed(
                f"process {left} did not end, not even when killed",
                hint=f"it waits for the kernel, see why: ps -o pid,stat,wchan,cmd -p {left}",
            )
        return True

    def replace(
        self,
        old: Handle,
        new: Instance,
        listener: socket.socket | None,
        ready: Callable[[Handle], None],
    ) -> Handle:
        folder = self._folders / old["folder"]
        record = _read_record(folder)
        if listener is None:
            self.stop(old, grace_s=new.spec.grace_s)
        try:
            handle = self.start(new, listener or _listen(old["port"]))
            self._ready_or_stop(new, handle, ready)
        except BaseException:
            self._bring_back(folder, record, old)
            raise
        if listener is not None:
            self.stop(old, grace_s=new.spec.grace_s)
        return handle

    def owns(self, handle: Handle) -> bool:
        return bool(handle["kind"] == "local")

    def inspect(self, handle: Handle) -> Observed:
        if process.is_alive(handle["pid"], handle["started"]):
            return Observed(state="running", handle=handle)
        # Asked after, not before: it may have died in between, and would stay a zombie.
        child = self._children.get(handle["pid"])
        code = child.poll() if child else None
        gone = not (self._folders / handle["folder"]).exists()
        return Observed(state="missing" if gone else "exited", exit_code=code, handle=handle)

    def logs(self, handle: Handle, *, tail: int | None, follow: bool) -> Iterator[str]:
        path = self._folders / handle["folder"] / "processor.log"
        if not path.exists():
            return
        with path.open(encoding="utf-8", errors="replace") as file:
            lines = deque(file, maxlen=tail)
            begun = lines.pop() if follow and lines and not lines[-1].endswith("\n") else ""
            yield from (line.rstrip("\n") for line in lines)
            if follow:
                yield from self._followed(handle, file, begun)

    def _followed(self, handle: Handle, file: TextIO, begun: str) -> Iterator[str]:
        """The lines that are still to come, whole ones, until the instance has ended."""
        has_ended = False
        while True:
            begun += (piece := file.readline())
            if begun.endswith("\n"):
                yield begun.rstrip("\n")
                begun = ""
            elif has_ended and not piece:
                yield from filter(None, [begun])
                return
            elif not piece:
                # What it printed before it ended is read once more.
                has_ended = self.inspect(handle).state != "running"
                time.sleep(0 if has_ended else _FOLLOW_POLL_S)

    def find(self) -> list[Found]:
        if not self._folders.exists():
            return []
        found = (self._read(folder) for folder in sorted(self._folders.iterdir()))
        return [one for one in found if one]

    def recover(self, instance: Instance) -> Found | None:
        operation = instance.operation
        if operation is None:
            return None
        pids = process.marked(f"{MARK}={operation.id}")
        leaders = [pid for pid in pids if process.leads_session(pid)] or pids
        before = [one for one in (operation.replaces, instance.handle) if one]
        if leaders:
            for one in before:
                if one["pid"] not in pids:
                    self.stop(one, grace_s=instance.spec.grace_s)
            made = self._as_started(instance)
            return _found(made, self.inspect(_handle(leaders[0], made, made.port)))
        alive = [one for one in map(self.inspect, before) if one.state == "running"]
        return _found(instance, alive[0]) if alive else None

    def purge(self, instance: Instance) -> None:
        with suppress(FileNotFoundError):
            shutil.rmtree(self._folders / instance.spec.container)

    def exec(self, handle: Handle, command: tuple[str, ...], *, tty: bool) -> int:
        """Run in the instance's folder and environment; the terminal is ours anyway."""
        del tty
        folder = self._folders / handle["folder"]
        instance = instance_from_json(_read_record(folder)["instance"])
        environment = self._environment(instance, self._values(instance, folder, handle["port"]))
        environment.pop(MARK)  # it is not part of the instance: stop must not end it
        return subprocess.run(command, cwd=folder / "data", env=environment, check=False).returncode

    def stats(self, handle: Handle) -> Usage:
        import psutil

        cpu, memory, count = 0.0, 0, 0
        for pid in _members(handle):
            with suppress(psutil.Error):
                one = psutil.Process(pid)
                age_s = max(time.time() - one.create_time(), 0.01)
                cpu += 100 * sum(one.cpu_times()[:2]) / age_s
                memory += one.memory_info().rss
                count += 1
        return Usage(cpu_percent=cpu, memory_bytes=memory, pids=count)

    def _prepare(self, instance: Instance) -> Path:
        folder = self._folders / instance.spec.container
        make_private(folder / "data")
        log = folder / "processor.log"
        if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
            log.replace(folder / "processor.log.1")
        # Before the process: what is found by its mark must be known by its folder.
        _write_record(folder, instance, None)
        return folder

    def _spawn(
        self, instance: Instance, folder: Path, port: int, passed: socket.socket | None
    ) -> subprocess.Popen[bytes]:
        values = self._values(instance, folder, port)
        values["{fd}"] = str(passed.fileno()) if passed else ""
        command = [_filled(word, values) for word in instance.spec.launch.command]
        if not command:
            raise StartFailed(
                f"template {instance.spec.template!r} has no command for a local process",
                hint=f"kato start --id {instance.id} --runtime docker",
            )
        log = os.open(folder / "processor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            child = subprocess.Popen(
                command,
                cwd=folder / "data",
                env=self._environment(instance, values),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(passed.fileno(),) if passed else (),
                start_new_session=True,
            )
        except OSError as error:
            raise StartFailed(f"cannot run {command[0]}: {error.strerror}") from error
        finally:
            os.close(log)
        self._children[child.pid] = child
        return child

    def _values(self, instance: Instance, folder: Path, port: int) -> dict[str, str]:
        return {
            "{id}": instance.id,
            "{port}": str(port),
            "{fd}": "",
            "{host}": HOST,
            "{data}": str(folder / "data"),
            "{python}": sys.executable,
        }

    def _environment(self, instance: Instance, values: Mapping[str, str]) -> dict[str, str]:
        own = {**instance.spec.launch.environment, **instance.spec.env}
        filled = {key: _filled(value, values) for key, value in own.items()}
        return {**self._environ, **filled, MARK: _operation_id(instance)}

    def _signal_until_gone(self, handle: Handle, sign: signal.Signals, wait_s: float) -> bool:
        """Signal everything of the instance and wait; False when something is left."""
        signalled: set[int] = set()
        deadline = time.monotonic() + wait_s
        while True:
            self._reap(handle)
            # The whole of /proc is looked through only when the leader, checked cheaply, is gone.
            waits = signalled and process.is_alive(handle["pid"], handle["started"])
            members = [handle["pid"]] if waits else _members(handle)
            if not members:
                self._reap(handle)
                return True
            for pid in set(members) - signalled:
                with suppress(ProcessLookupError):
                    os.kill(pid, sign)
                signalled.add(pid)
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)

    def _reap(self, handle: Handle) -> None:
        child = self._children.get(handle["pid"])
        if child and child.poll() is not None:
            del self._children[handle["pid"]]

    def _ready_or_stop(
        self, new: Instance, handle: Handle, ready: Callable[[Handle], None]
    ) -> None:
        try:
            self.await_bind(handle, new.spec.ready_timeout_s)
            ready(handle)
        except BaseException:
            self.stop(handle, grace_s=0)
            raise

    def _bring_back(self, folder: Path, record: Mapping[str, Json], old: Handle) -> None:
        instance = instance_from_json(record["instance"])
        if self.inspect(old).state == "running":
            _write_record(folder, instance, old)
        else:
            self.start(instance, _listen(old["port"]))

    def _read(self, folder: Path) -> Found | None:
        record = _read_record(folder)
        try:
            instance = instance_from_json(record["instance"])
        except (LookupError, TypeError, ValueError, AttributeError):
            return None  # damaged, or not ours: there is nothing to tell
        handle = record["handle"]
        return _found(instance, self.inspect(handle) if handle else Observed(state="exited"))

    def _as_started(self, instance: Instance) -> Instance:
        """The instance as its operation started it; the recorded one may still be the old."""
        record = _read_record(self._folders / instance.spec.container)
        started = instance_from_json(record["instance"]) if record else instance
        return started if _operation_id(started) == _operation_id(instance) else instance


def _found(instance: Instance, observed: Observed) -> Found:
    return Found(
        instance=instance,
        observed=observed,
        registry_id="",
        operation_id=_operation_id(instance),
        created_at=instance.created_at,
    )


def _handle(pid: int, instance: Instance, port: int) -> Handle:
    return {
        "kind": "local",
        "pid": pid,
        "started": process.identity(pid) or "",
        "operation": _operation_id(instance),
        "folder": instance.spec.container,
        "listen": instance.spec.launch.listen,
        "port": port,
    }


def _operation_id(instance: Instance) -> str:
    return instance.operation.id if instance.operation else ""


def _members(handle: Handle) -> list[int]:
    """Everything that lives of an instance: its session, and what left it but bears the mark."""
    members = set(process.session(handle["pid"], handle["started"]))
    if handle["operation"]:
        members |= set(process.marked(f"{MARK}={handle['operation']}"))
    return sorted(members)


def _listens(handle: Handle) -> bool:
    """Whether a process of the instance owns the listening socket on its port."""
    import psutil

    for pid in _members(handle):
        with suppress(psutil.Error):
            for connection in psutil.Process(pid).net_connections(kind="tcp"):
                bound = tuple(connection.laddr)[1:2] == (handle["port"],)
                if bound and connection.status == psutil.CONN_LISTEN:
                    return True
    return False


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


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


def _listen(port: int) -> socket.socket:
    """The port of an instance that just ended, for its successor."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise PortTaken(f"port {port} was taken while its instance was replaced") from error
    return listener


def _filled(text: str, values: Mapping[str, str]) -> str:
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text


def _write_record(folder: Path, instance: Instance, handle: Handle | None) -> None:
    record = {"instance": to_json(instance), "handle": handle}
    write_atomically(folder / "instance.json", json.dumps(record, indent=1))


def _read_record(folder: Path) -> dict[str, Json]:
    with suppress(OSError, ValueError):
        return dict(json.loads((folder / "instance.json").read_text(encoding="utf-8")))
    return {}
