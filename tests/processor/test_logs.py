"""What a processor writes for its operator."""

import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import Client
from .process import COMMAND, environment


def logged(folder: Path, *, asking: Any = None, workers: int = 1, **environ: str) -> list[str]:
    """The lines of a process's life, without time and pid; it ends once all workers listen."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            [*COMMAND, "--fd", str(listener.fileno()), "--workers", str(workers)],
            env=environment(folder, **{"LOG_LEVEL": "INFO", **environ}),
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
        port = listener.getsockname()[1]
        client = Client(port)
    assert process.stderr
    text = ""
    while text.count("listening on") < workers:
        text += process.stderr.readline()
    client.get("/health")
    if asking:
        asking(client)
    client.close()
    process.terminate()
    with process.stderr:
        text += process.stderr.read()
    assert process.wait(timeout=30) == 0
    stamp = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \d+ ")
    lines = text.splitlines()
    assert all(stamp.match(line) for line in lines), text
    return [stamp.sub("", line).replace(str(port), "PORT") for line in lines]


@pytest.mark.parametrize("workers", [1, 2])
def test_each_worker_says_where_it_listens_and_keeps_data(tmp_path: Path, workers: int) -> None:
    lines = logged(tmp_path, workers=workers)

    listening = f"INFO listening on http://127.0.0.1:PORT, data in {tmp_path}"
    assert sorted(lines) == [listening] * workers + ["INFO stopped"] * workers


def test_a_clients_mistakes_are_not_logged(tmp_path: Path) -> None:
    def ask(client: Client) -> None:
        client.send("GET", "/nothing")
        client.send("POST", "/sessions", b"{")
        with socket.create_connection(("127.0.0.1", client.port)) as leaving:
            leaving.sendall(b"POST /observe HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        while client.get("/metrics")["performance"]["total_requests"] < 5:
            pass

    assert len(logged(tmp_path, asking=ask)) == 2


def test_debug_names_every_request(tmp_path: Path) -> None:
    def ask(client: Client) -> None:
        client.send("GET", "/a%0Ab", headers={"X-Trace-ID": "mine"})

    lines = logged(tmp_path, asking=ask, LOG_LEVEL="DEBUG")

    assert any(re.fullmatch(r"DEBUG GET /a%0Ab 404 in \d+\.\d ms, trace mine", x) for x in lines)
