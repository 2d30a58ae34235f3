"""Instances as processes of this machine: each leads a session of its own, in a folder of its own.

A process carries `KATO_OPERATION=<id of the start>` in its environment. That finds what a killed
start left behind, and children that left the session.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from kato_manager import process
from kato_manager.errors import PortTaken, StartFailed
from kato_manager.model import Handle, Instance
from kato_manager.runtimes.base import Found, Observed, Usage
from kato_manager.runtimes.folder import Folder
from kato_manager.runtimes.members import MARK, Members

HOST = "127.0.0.1"
_POLL_S = 0.02


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
        folder = self._folder(instance.spec.container)
        folder.prepare(instance)
        port = int(listener.getsockname()[1])
        with listener:
            passed = listener if instance.spec.launch.listen == "fd" else None
            if passed is None:
                listener.close()
            child = self._spawn(instance, folder, port, passed)
        handle = _handle(child.pid, instance, port)
        folder.record(instance, handle)
        return handle

    def await_bind(self, handle: Handle, timeout_s: float) -> None:
        if handle["listen"] == "fd":
            return
        deadline = time.monotonic() + timeout_s
        while self.inspect(handle).state == "running" and time.monotonic() < deadline:
            if _answers(handle["port"]):
                break
            time.sleep(_POLL_S)
        if _answers(handle["port"]) and not Members(handle).listen():
            Members(handle).end(grace_s=0)
            self._reap(handle)
            raise PortTaken(f"port {handle['port']} was taken before the instance could bind it")

    def stop(self, handle: Handle, *, grace_s: float) -> None:
        Members(handle).end_and_close(grace_s)
        self._reap(handle)

    def replace(
        self,
        old: Handle,
        new: Instance,
        listener: socket.socket | None,
        ready: Callable[[Handle], None],
    ) -> Handle:
        folder = self._folder(old["folder"])
        before = folder.recorded()
        if listener is None:
            self.stop(old, grace_s=new.spec.grace_s)
        try:
            handle = self.start(new, listener or _listen(old["port"]))
            self._ready_or_stop(new, handle, ready)
        except BaseException:
            self._bring_back(folder, before, old)
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
        def has_ended() -> bool:
            return self.inspect(handle).state != "running"

        return self._folder(handle["folder"]).lines(tail, until=has_ended if follow else None)

    def find(self) -> list[Found]:
        if not self._folders.exists():
            return []
        found = (self._read(Folder(path)) for path in sorted(self._folders.iterdir()))
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
        self._folder(instance.spec.container).remove()

    def exec(self, handle: Handle, command: tuple[str, ...], *, tty: bool) -> int:
        """Run in the instance's folder and environment; the terminal is ours anyway."""
        del tty
        folder = self._folder(handle["folder"])
        recorded = folder.recorded()
        if recorded is None:
            raise StartFailed(f"{folder.path} does not say how the instance was started")
        instance, _ = recorded
        environment = self._environment(instance, self._values(instance, folder, handle["port"]))
        environment.pop(MARK)  # it is not part of the instance: stop must not end it
        return subprocess.run(command, cwd=folder.data, env=environment, check=False).returncode

    def stats(self, handle: Handle) -> Usage:
        return Members(handle).usage()

    def _spawn(
        self, instance: Instance, folder: Folder, port: int, passed: socket.socket | None
    ) -> subprocess.Popen[bytes]:
        values = self._values(instance, folder, port)
        values["{fd}"] = str(passed.fileno()) if passed else ""
        command = [_filled(word, values) for word in instance.spec.launch.command]
        if not command:
            raise StartFailed(
                f"template {instance.spec.template!r} has no command for a local process",
                hint=f"kato start --id {instance.id} --runtime docker",
            )
        log = os.open(folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            child = subprocess.Popen(
                command,
                cwd=folder.data,
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

    def _values(self, instance: Instance, folder: Folder, port: int) -> dict[str, str]:
        return {
            "{id}": instance.id,
            "{port}": str(port),
            "{fd}": "",
            "{host}": HOST,
            "{data}": str(folder.data),
            "{python}": sys.executable,
        }

    def _environment(self, instance: Instance, values: Mapping[str, str]) -> dict[str, str]:
        own = {**instance.spec.launch.environment, **instance.spec.env}
        filled = {key: _filled(value, values) for key, value in own.items()}
        return {**self._environ, **filled, MARK: _operation_id(instance)}

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

    def _bring_back(
        self, folder: Folder, before: tuple[Instance, Handle | None] | None, old: Handle
    ) -> None:
        if before is None:
            return
        instance, _ = before
        if self.inspect(old).state == "running":
            folder.record(instance, old)
        else:
            self.start(instance, _listen(old["port"]))

    def _folder(self, name: str) -> Folder:
        return Folder(self._folders / name)

    def _read(self, folder: Folder) -> Found | None:
        recorded = folder.recorded()
        if recorded is None:
            return None
        instance, handle = recorded
        return _found(instance, self.inspect(handle) if handle else Observed(state="exited"))

    def _as_started(self, instance: Instance) -> Instance:
        """The instance as its operation started it; the recorded one may still be the old."""
        recorded = self._folder(instance.spec.container).recorded()
        if recorded and _operation_id(recorded[0]) == _operation_id(instance):
            return recorded[0]
        return instance


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


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


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
