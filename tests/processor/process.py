"""A processor as its own process, on a socket handed over by the test."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .conftest import Client

COMMAND = [sys.executable, "-m", "kato_processor"]


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
    return kept | {"KATO_DATA_DIR": str(folder), "LOG_LEVEL": "WARNING"} | more


@contextmanager
def processor(folder: Path, *options: str, **environ: str) -> Iterator[tuple[Client, int]]:
    """A client of the running process, and its pid; it is stopped politely at the end."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        process = subprocess.Popen(
            [*COMMAND, "--fd", str(listener.fileno()), *options],
            env=environment(folder, **environ),
            pass_fds=[listener.fileno()],
        )
        client = Client(listener.getsockname()[1])
    try:
        yield client, process.pid
    finally:
        client.close()
        process.terminate()
        process.wait(timeout=30)


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command of `kato-processor` that ends by itself."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(folder, **environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
