"""The supervisor: one small process that keeps the listening socket and the other processes.

    SIGTERM, SIGINT   end all after draining
    SIGHUP            start again with the code as it is now; the socket stays open all the time

It waits for signals and does nothing else, so there is little that could fail in it.
"""

import argparse
import importlib.util
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kato_manager.errors import ConfigError, KatoError
from kato_manager.gateway import lifecycle
from kato_manager.gateway.limits import limits_from

READY = signal.SIGRTMIN  # a front accepts; unlike ordinary signals these queue
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, READY}
_LONGEST_BACKOFF_S = 30.0
_STEADY_S = 10.0  # who lived this long did not fail at start
_CONTROL = "control"
_CONTROL_MODULE = "kato_manager.gateway.control"


@dataclass(slots=True, kw_only=True)
class Child:
    """A process that has to run; `pid` 0: not now, `due` says when."""

    name: str
    command: list[str]
    pid: int = 0
    started: float = 0.0
    due: float = 0.0
    failures: int = 0
    is_ready: bool = False


class Supervisor:
    """Keeps `workers` fronts and the control process, until a signal says otherwise."""

    def __init__(self, options: argparse.Namespace, listener: socket.socket) -> None:
        self._options = options
        self._listener = listener
        self._retired = {int(pid) for pid in options.retire.split(",") if pid}
        self._children = [self._front(slot) for slot in self._free_slots()]
        if importlib.util.find_spec(_CONTROL_MODULE):
            self._children.append(self._control())

    def _free_slots(self) -> list[int]:
        """Each front has a slot of its own for its counters, also beside those it replaces."""
        first = 0 if self._options.generation % 2 == 0 else self._options.workers
        return list(range(first, first + self._options.workers))

    def _front(self, slot: int) -> Child:
        words = [str(self._listener.fileno()), str(os.getpid()), str(slot)]
        return Child(
            name=f"front {slot}",
            command=_python("kato_manager.gateway.worker", *words, *_shared(self._options)),
        )

    def _control(self) -> Child:
        words = ["--home", str(self._options.home), "--parent", str(os.getpid())]
        return Child(name=_CONTROL, command=_python(_CONTROL_MODULE, *words))

    def run(self) -> None:
        """Return when all have ended."""
        while True:
            self._start_what_is_due()
            received = signal.sigtimedwait(_SIGNALS, self._next_due_s())
            number = received.si_signo if received else 0
            if number == signal.SIGHUP:
                self._renew()
            elif number in {signal.SIGTERM, signal.SIGINT}:
                self._end()
                return
            elif number == READY and received:
                self._became_ready(received.si_pid)
            self._reap()

    def _start_what_is_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if not child.pid and child.due <= now and not self._waits_for_retired(child):
                # Only fronts: whoever else holds the socket keeps the port when we are gone.
                self._listener.set_inheritable(child.name != _CONTROL)
                child.pid = _spawn(child.command)
                child.started, child.is_ready = now, False

    def _waits_for_retired(self, child: Child) -> bool:
        """There is one control process at a time: it alone holds the timers."""
        return child.name == _CONTROL and bool(self._retired)

    def _next_due_s(self) -> float:
        waiting = [child.due for child in self._children if not child.pid]
        return max(0.01, min([due - time.monotonic() for due in waiting] or [_LONGEST_BACKOFF_S]))

    def _became_ready(self, pid: int) -> None:
        for child in self._children:
            child.is_ready = child.is_ready or child.pid == pid
        fronts = [child for child in self._children if child.name != _CONTROL]
        if all(child.is_ready for child in fronts):
            for retired in self._retired:
                _signal(retired, signal.SIGTERM)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                self._retired.discard(pid)
                self._ended(pid, os.waitstatus_to_exitcode(status))

    def _ended(self, pid: int, code: int) -> None:
        child = next((child for child in self._children if child.pid == pid), None)
        if child is None:
            return
        now = time.monotonic()
        child.pid = 0
        child.failures = 0 if now - child.started > _STEADY_S else child.failures + 1
        pause_s = min(_LONGEST_BACKOFF_S, 0.05 * 2**child.failures)
        child.due = now + pause_s
        _say(f"{child.name} (pid {pid}) ended with {code}; again in {pause_s:.1f} s")

    def _renew(self) -> None:
        """Become the new code. Pid and children stay; the children end when others have begun."""
        retired = self._retired | {child.pid for child in self._children if child.pid}
        _say("renewing")
        os.set_inheritable(self._listener.fileno(), True)
        command = _python(
            "kato_manager.gateway",
            *_shared(self._options),
            *("--workers", str(self._options.workers)),
            *("--fd", str(self._listener.fileno())),
            *("--generation", str(self._options.generation + 1)),
            *("--retire", ",".join(map(str, sorted(retired)))),
        )
        os.execv(command[0], command)  # noqa: S606

    def _end(self) -> None:
        """Nobody comes in any more; all finish what is in flight."""
        self._listener.close()
        pids = self._retired | {child.pid for child in self._children if child.pid}
        for pid in pids:
            _signal(pid, signal.SIGTERM)
        until = time.monotonic() + limits_from(self._options.limit).drain_s + 2.0
        while pids and time.monotonic() < until:
            pids -= _exited(pids)
            if pids:
                received = signal.sigtimedwait(_SIGNALS, 0.5)
                if received and received.si_signo in {signal.SIGTERM, signal.SIGINT}:
                    break  # asked twice: now
        for pid in pids:
            _signal(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _exited(pids: set[int]) -> set[int]:
    return {pid for pid in pids if os.waitpid(pid, os.WNOHANG)[0]}


def _python(module: str, *words: str) -> list[str]:
    return [sys.executable, "-P", "-m", module, *words]


def _shared(options: argparse.Namespace) -> list[str]:
    """The options as words again."""
    words = ["--home", str(options.home), "--host", options.host, "--port", str(options.port)]
    for name in ("limit", "allow_host", "allow_origin"):
        for value in getattr(options, name):
            words += [f"--{name.replace('_', '-')}", value]
    return [*words, "--no-access-log"] if options.no_access_log else words


def _spawn(command: list[str]) -> int:
    """A child with no signal blocked, that inherits the standard streams and the listener."""
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return os.posix_spawn(command[0], command, environ, setsigmask=[])


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _say(text: str) -> None:
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(f"{moment} gateway: {text}", file=sys.stderr, flush=True)  # noqa: T201 - its log


def shared_options() -> argparse.ArgumentParser:
    """The options that the supervisor hands on to its fronts."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--limit", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--allow-host", action="append", default=[])
    parser.add_argument("--allow-origin", action="append", default=[])
    parser.add_argument("--no-access-log", action="store_true")
    return parser


def main(words: Sequence[str] | None = None) -> None:
    """Run a gateway in this process until it is told to end."""
    parser = argparse.ArgumentParser("kato_manager.gateway", parents=[shared_options()])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--fd", type=int, help="the listening socket, inherited")
    parser.add_argument("--generation", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--retire", default="", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    try:
        limits_from(options.limit)
    except ConfigError as error:
        parser.error(f"{error.message} ({error.hint})" if error.hint else error.message)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        listener = _listener(options)
    except KatoError as error:
        _say(f"{error}{f' ({error.hint})' if error.hint else ''}")
        sys.exit(1)
    options.port = listener.getsockname()[1]
    record = lifecycle.write_record(
        options.home, host=options.host, port=options.port, workers=options.workers
    )
    _say(f"listening on {options.host}:{options.port}")
    try:
        Supervisor(options, listener).run()
    finally:
        record.unlink(missing_ok=True)
    _say("ended")


def _listener(options: argparse.Namespace) -> socket.socket:
    if options.fd is not None:
        return socket.socket(fileno=options.fd)
    return lifecycle.listening(options.home, options.host, options.port)
