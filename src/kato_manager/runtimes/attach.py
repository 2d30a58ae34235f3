"""Our own streams and a container's: lines of its log, and a command run beside the processor."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docker import APIClient

_CHUNK = 65536
_STDERR = 2
_POLL_S = 0.02


def lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Whole lines, wherever the engine cut the stream; bytes that are not UTF-8 show as U+FFFD."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.rstrip(b"\r").decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


@contextmanager
def disconnected_after(stream: Any) -> Iterator[Any]:
    """A stream of the SDK, whose own `close` forgets the connection below it."""
    try:
        yield stream
    finally:
        stream._response.close()  # noqa: SLF001 - the SDK offers no other way to it


def run(api: "APIClient", container_id: str, command: tuple[str, ...], *, tty: bool) -> int:
    """Run a command in a container with our stdin, stdout and stderr; its exit code."""
    from docker.utils.socket import frames_iter

    made = api.exec_create(container_id, list(command), stdin=True, tty=tty)["Id"]
    with disconnected_after(api.exec_start(made, tty=tty, socket=True)) as stream:
        raw = getattr(stream, "_sock", stream)  # plain HTTP comes wrapped
        threading.Thread(target=_send_stdin, args=(raw,), daemon=True).start()
        with _terminal(api, made) if tty else nullcontext():
            for number, data in frames_iter(stream, tty):  # type: ignore[no-untyped-call]
                out = sys.stderr if number == _STDERR else sys.stdout
                out.buffer.write(data)
                out.flush()
    return _exit_code(api, made)


def _send_stdin(raw: socket.socket) -> None:
    with suppress(OSError):  # the command ended first
        while data := os.read(sys.stdin.fileno(), _CHUNK):
            raw.sendall(data)
        raw.shutdown(socket.SHUT_WR)


def _exit_code(api: "APIClient", made: str) -> int:
    """The stream may end a moment before the engine has noted the exit."""
    while (state := api.exec_inspect(made))["Running"] or state["ExitCode"] is None:
        time.sleep(_POLL_S)
    return int(state["ExitCode"])


@contextmanager
def _terminal(api: "APIClient", made: str) -> Iterator[None]:
    """Our terminal hands every key to the command, and tells it its size."""
    import termios
    import tty

    from docker.errors import APIError

    def resize(*_: object) -> None:
        size = os.get_terminal_size(sys.stdin.fileno())
        with suppress(APIError):  # the command has ended: it needs no size
            api.exec_resize(made, height=size.lines, width=size.columns)

    before = termios.tcgetattr(sys.stdin)
    previous = signal.signal(signal.SIGWINCH, resize)
    try:
        tty.setraw(sys.stdin, termios.TCSADRAIN)  # keeps what was typed ahead
        resize()
        yield
    finally:
        signal.signal(signal.SIGWINCH, previous)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
