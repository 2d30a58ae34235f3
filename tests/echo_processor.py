"""A processor for tests: answers JSON, starts in 20 ms, and misbehaves on request.

    python echo_processor.py --id a (--port 8001 | --fd 5)

`ECHO` in its environment holds words of what it does besides: `die` (ends with code 3 at once),
`deaf` (never binds), `ill` (its health is 503), `stranger` (claims another id), `stubborn` (ignores
SIGTERM), `family` (has children in its group, in a session of their own, and with a cleared
environment; `ECHO_CHILDREN` names a file for their pids), `chatty` (prints numbered lines).
"""

import json
import os
import signal
import socket
import sys
import threading
import time

HOST = "127.0.0.1"


def main() -> None:
    options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    words = os.environ.get("ECHO", "").split()
    print(f"echo {options['--id']} starts", flush=True)
    if "die" in words:
        print("cannot go on: no reason at all", flush=True)
        sys.exit(3)
    if "stubborn" in words:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif os.getpid() == 1:  # in a container, where the kernel knows no default for a signal
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if "family" in words:
        have_children()
    if "chatty" in words:
        threading.Thread(target=chat, daemon=True).start()
    if "deaf" in words:
        threading.Event().wait()
    serve(listener(options), options["--id"], words)


def listener(options: dict[str, str]) -> socket.socket:
    if "--fd" in options:
        return socket.socket(fileno=int(options["--fd"]))
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((options.get("--host", HOST), int(options["--port"])))
    bound.listen(64)
    return bound


def serve(bound: socket.socket, own_id: str, words: list[str]) -> None:
    while True:
        connection, _ = bound.accept()
        threading.Thread(target=answer, args=(connection, own_id, words), daemon=True).start()


def answer(connection: socket.socket, own_id: str, words: list[str]) -> None:
    with connection, connection.makefile("rb") as request:
        line = request.readline().decode("latin-1").split()
        while request.readline().strip():
            pass
        if len(line) < 2:
            return
        ill = "ill" in words and line[1] == "/health"
        body = json.dumps(
            {
                "instance_id": "somebody-else" if "stranger" in words else own_id,
                "path": line[1],
                "pid": os.getpid(),
                "settings": {key: os.environ[key] for key in os.environ if key.startswith("ECHO_")},
            }
        ).encode()
        status = "503 Service Unavailable" if ill else "200 OK"
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + body)


def have_children() -> None:
    """Three that live on when only their parent is ended; their pids go into a file."""
    pids = [child(), child(session=True), child(environment=False)]
    whole = os.environ["ECHO_CHILDREN"]
    with open(f"{whole}.part", "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is slow
        file.write(" ".join(map(str, pids)))
    os.rename(f"{whole}.part", whole)  # noqa: PTH104


def child(*, session: bool = False, environment: bool = True) -> int:  # noqa: RET503 - exec
    """A process that sleeps; with `session` its parent is init, as a daemon's is."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        told = int(os.read(reader, 20))
        if session:
            os.waitpid(pid, 0)
        return told
    if session:
        os.setsid()
        if os.fork():
            os._exit(0)
    os.write(writer, str(os.getpid()).encode())
    os.execve("/bin/sleep", ["sleep", "300"], dict(os.environ) if environment else {})  # noqa: S606


def chat() -> None:
    for number in range(1_000_000):
        print(f"line {number}", flush=True)
        time.sleep(0.01)


if __name__ == "__main__":
    main()
