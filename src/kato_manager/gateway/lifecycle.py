"""Bring a gateway up, down, and say how it is: what commands need, and cheap to import.

`$KATO_HOME/gateway/` holds `gateway.json` (who runs), `gateway.log`, `gateway.lock` and the
control process's socket.
"""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from kato_manager import lock, process
from kato_manager.errors import NotReady, StartFailed
from kato_manager.gateway.listener import LOOPBACK, ask, listen, url
from kato_manager.model import timestamp
from kato_manager.settings import Settings

CONTROL_SOCKET = "control.sock"
READY_S = 15.0
_POLL_S = 0.02
_PID_BYTES = 4  # the first field of struct ucred


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a gateway shall run; words as the supervisor takes them."""

    host: str = LOOPBACK
    workers: int = 1
    allow_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()  # "name=value"
    access_log: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A gateway that runs. `started` is the identity of its process with `pid`."""

    pid: int
    started: str
    host: str
    port: int
    workers: int
    identity: str
    since: str

    @property
    def url(self) -> str:
        return url(self.host, self.port)


def folder(home: Path) -> Path:
    return home / "gateway"


def identity(home: Path) -> str:
    """What the gateway of this home answers in `X-Kato-Gateway`, and no other."""
    return hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:16]


def status(settings: Settings) -> Running | None:
    """The gateway of this home, if it runs; reads two small files and asks nobody."""
    return _running(settings.home)


def was_up(settings: Settings) -> bool:
    """Whether a gateway of this home has never been taken down: it runs, or died with others."""
    return _record(settings.home).exists()


def _running(home: Path) -> Running | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        record = json.loads(_record(home).read_text())
        record.pop("version")
        running = Running(**record)
        if process.identity(running.pid) == running.started:
            return running
    return None


def ensure(settings: Settings, options: Options | None = None) -> Running:
    """The running gateway, started if there is none: as `up`, but quick when it runs."""
    return status(settings) or up(settings, options)


def up(settings: Settings, options: Options | None = None) -> Running:
    """Start a gateway in a session of its own, and wait until it answers.

    Any number of callers at once get the same one. Raises `PortTaken` naming the holder,
    `StartFailed` with its last log lines, `NotReady`, `RegistryLocked`.
    """
    home, options = settings.home, options or Options()
    _make_folder(home)
    with lock.held(folder(home) / "gateway.lock", what="the gateway", timeout_s=READY_S * 2):
        if running := _running(home):
            return running
        with listening(home, options.host, settings.gateway_port) as listener:
            server = _launch(home, options, listener)
        return _wait_until_ready(home, server)


def down(settings: Settings, *, timeout_s: float = 30.0) -> bool:
    """End the gateway after it has finished what is in flight; False when none runs."""
    running = status(settings)
    if running is None:
        return False
    _signal(running, signal.SIGTERM)
    if not _gone(running, timeout_s):
        _signal(running, signal.SIGTERM)  # the second one means now
        if not _gone(running, timeout_s):
            raise NotReady(
                f"the gateway (pid {running.pid}) does not end", hint=f"kill -9 {running.pid}"
            )
    return True


def upgrade(settings: Settings, *, timeout_s: float = 30.0) -> bool:
    """Let it start again with code and config.yaml as they are now, refusing nobody.

    Returns when the new control process takes requests; False when no gateway runs. Raises
    `NotReady` with its last log lines.
    """
    running = status(settings)
    if running is None:
        return False
    retired = {0, *_children(running.pid)}
    _signal(running, signal.SIGHUP)
    until = time.monotonic() + timeout_s
    while _controlling(settings.home) in retired:
        if time.monotonic() > until:
            raise NotReady(
                f"the gateway is not there again after {timeout_s:.0f} s:\n"
                f"{_last_lines(settings.home)}",
                hint=f"see {folder(settings.home) / 'gateway.log'}",
            )
        time.sleep(_POLL_S)
    return True


def _children(pid: int) -> list[int]:
    with suppress(FileNotFoundError):
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    return []


def _controlling(home: Path) -> int:
    """The control process that takes requests; 0 if none does."""
    descriptor = os.open(folder(home), os.O_PATH | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
            # Through its folder, as it was bound: the path of a Unix socket may have 107 bytes.
            client.connect(f"/proc/self/fd/{descriptor}/{CONTROL_SOCKET}")
            peer = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PID_BYTES)
            return int.from_bytes(peer, sys.byteorder)
    finally:
        os.close(descriptor)
    return 0


def listening(home: Path, host: str, port: int) -> socket.socket:
    """The gateway's listening socket; raises `PortTaken` and `ConfigError`."""
    return listen(host, port, identity=identity(home), patience_s=READY_S)


def write_record(home: Path, *, host: str, port: int, workers: int) -> Path:
    """Say in `gateway.json` that this process is the gateway; the path of the file."""
    me = Running(
        pid=os.getpid(),
        started=process.own_identity(),
        host=host,
        port=port,
        workers=workers,
        identity=identity(home),
        since=timestamp(datetime.now(UTC)),
    )
    _make_folder(home)
    temporary = folder(home) / f".gateway.json.{me.pid}"
    temporary.write_text(json.dumps({"version": 1, **asdict(me)}) + "\n")
    temporary.chmod(0o600)
    return temporary.replace(_record(home))


def _make_folder(home: Path) -> None:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder(home).mkdir(mode=0o700, exist_ok=True)


def _record(home: Path) -> Path:
    return folder(home) / "gateway.json"


def arguments(home: Path, options: Options) -> list[str]:
    """What follows the interpreter to be this gateway; `--port` or `--fd` is still to be added."""
    words = ["-P", "-m", "kato_manager.gateway", "--home", str(home), "--host", options.host]
    words += ["--workers", str(options.workers)]
    for name, values in (
        ("--limit", options.limits),
        ("--allow-host", options.allow_hosts),
        ("--allow-origin", options.allow_origins),
    ):
        for value in values:
            words += [name, value]
    return words if options.access_log else [*words, "--no-access-log"]


def _launch(home: Path, options: Options, listener: socket.socket) -> subprocess.Popen[bytes]:
    words = [*arguments(home, options), "--fd", str(listener.fileno())]
    with (folder(home) / "gateway.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={**os.environ, "KATO_HOME": str(home)},
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )


def _wait_until_ready(home: Path, server: subprocess.Popen[bytes]) -> Running:
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        running = _running(home)
        if running and ask(running.host, running.port) == running.identity:
            # It is to outlive us: nobody here will ever wait for it.
            server.returncode = 0
            return running
        if server.poll() is not None:
            raise StartFailed(
                f"the gateway ended with {server.returncode}:\n{_last_lines(home)}",
                hint=f"see {folder(home) / 'gateway.log'}",
            )
        time.sleep(_POLL_S)
    server.terminate()
    raise NotReady(
        f"the gateway did not answer within {READY_S:.0f} s",
        hint=f"see {folder(home) / 'gateway.log'}",
    )


def _last_lines(home: Path) -> str:
    text = (folder(home) / "gateway.log").read_text(errors="replace")
    return "\n".join(text.splitlines()[-10:])


def _signal(running: Running, number: int) -> None:
    """To this very process, or to nobody."""
    try:
        descriptor = os.pidfd_open(running.pid)
    except ProcessLookupError:
        return
    try:
        if process.identity(running.pid) == running.started:
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def _gone(running: Running, timeout_s: float) -> bool:
    until = time.monotonic() + timeout_s
    while process.identity(running.pid) == running.started:
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_S)
    return True
