"""Whole gateways: processes, signals, and who owns the port."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.servers import DEADLINE_S, EchoServer, recorded
from kato_manager import process
from kato_manager.errors import ConfigError, NotReady, PortTaken
from kato_manager.gateway import lifecycle, listener
from kato_manager.gateway.lifecycle import Options
from kato_manager.registry import Registry
from kato_manager.settings import Settings


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture
def settings(tmp_path) -> Iterator[Settings]:
    settings = Settings(home=tmp_path / "home", gateway_port=free_port())
    yield settings
    lifecycle.down(settings)


@pytest.fixture
def echo(settings) -> Iterator[EchoServer]:
    server = EchoServer("a")
    with Registry(settings.home).edit() as instances:
        instances["a"] = recorded("a", server.server_port)
    yield server
    server.close()


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def wait_until(holds, what: str) -> None:
    until = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < until, f"{what} did not come true"
        time.sleep(0.01)


def fronts(pid: int) -> set[int]:
    """The front workers of a supervisor."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {
        int(child)
        for child in children
        if b"gateway.worker" in Path(f"/proc/{child}/cmdline").read_bytes()
    }


def test_up_answers_and_down_leaves_nothing(settings: Settings, echo: EchoServer) -> None:
    running = lifecycle.up(settings)

    assert lifecycle.status(settings) == running
    assert running.url == f"http://localhost:{settings.gateway_port}"
    assert listener.ask("127.0.0.1", running.port) == lifecycle.identity(settings.home)
    assert get(running.port, "/a/x")[0] == 200
    assert os.getsid(running.pid) == running.pid, "it survives the terminal"
    workers = fronts(running.pid)

    assert lifecycle.down(settings)
    assert lifecycle.status(settings) is None
    assert not lifecycle.down(settings)
    assert not any(process.identity(pid) for pid in {running.pid, *workers})
    assert not (lifecycle.folder(settings.home) / "gateway.json").exists()


@pytest.mark.parametrize("host", ["::1", "127.0.0.7", "0.0.0.0", "::"])
def test_it_may_listen_elsewhere(settings: Settings, host: str) -> None:
    running = lifecycle.up(settings, Options(host=host))

    shown = f"[{host}]" if ":" in host else host
    assert running.url == f"http://{shown}:{settings.gateway_port}"
    assert listener.ask(host, running.port) == running.identity


def test_a_host_that_is_not_here_is_refused(settings: Settings) -> None:
    with pytest.raises(ConfigError) as refusal:
        lifecycle.up(settings, Options(host="192.0.2.1"))

    assert refusal.value.message == (
        f"nobody can listen on 192.0.2.1, port {settings.gateway_port}, here:"
        " cannot assign requested address"
    )


def test_importing_it_is_cheap() -> None:
    code = (
        "import sys; before = set(sys.modules); import kato_manager.gateway.lifecycle;"
        "print(sorted({'asyncio', 'uvloop', 'httptools', 'fastapi', 'pydantic', 'filelock',"
        " 'psutil', 'yaml', 'docker'} & (set(sys.modules) - before)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)

    assert said.stdout == "[]\n"


def test_many_at_once_get_one_gateway(settings: Settings) -> None:
    code = (
        "import sys, pathlib; from kato_manager.gateway import lifecycle;"
        "from kato_manager.settings import Settings;"
        "print(lifecycle.ensure(Settings(home=pathlib.Path(sys.argv[1]),"
        " gateway_port=int(sys.argv[2]))).pid)"
    )
    command = [sys.executable, "-c", code, str(settings.home), str(settings.gateway_port)]

    with ThreadPoolExecutor(12) as pool:
        said = list(
            pool.map(
                lambda _: subprocess.run(command, capture_output=True, text=True, check=False),
                range(12),
            )
        )

    assert [one.stderr for one in said] == [""] * 12
    running = lifecycle.status(settings)
    assert running
    assert {one.stdout for one in said} == {f"{running.pid}\n"}


def test_scenario_22_a_port_of_a_stranger_is_refused_by_name(settings: Settings) -> None:
    with (
        socket.create_server(("127.0.0.1", settings.gateway_port)),
        pytest.raises(PortTaken) as refusal,
    ):
        lifecycle.up(settings)

    assert refusal.value.message == (
        f"port {settings.gateway_port} is used by {Path('/proc/self/comm').read_text().strip()}"
        f" (pid {os.getpid()})"
    )
    assert lifecycle.status(settings) is None


def test_scenario_22_another_home_keeps_its_port(settings: Settings, tmp_path) -> None:
    lifecycle.up(settings)
    other = Settings(home=tmp_path / "other", gateway_port=settings.gateway_port)

    with pytest.raises(PortTaken) as refusal:
        lifecycle.up(other)

    assert "is used by the gateway of another KATO_HOME" in refusal.value.message


def test_scenario_22_a_front_that_dies_is_replaced(settings: Settings, echo: EchoServer) -> None:
    running = lifecycle.up(settings)
    (worker,) = fronts(running.pid)

    os.kill(worker, signal.SIGKILL)

    # The supervisor holds the socket, so nobody is refused meanwhile: the connection waits.
    assert get(running.port, "/a/x")[0] == 200
    assert fronts(running.pid) != {worker}


def test_scenario_22_a_supervisor_that_dies_is_brought_back(
    settings: Settings, echo: EchoServer
) -> None:
    running = lifecycle.up(settings)
    workers = fronts(running.pid)

    os.kill(running.pid, signal.SIGKILL)

    wait_until(lambda: lifecycle.status(settings) is None, "the end of the supervisor")
    assert lifecycle.ensure(settings).pid != running.pid
    assert not any(process.identity(pid) for pid in workers)
    assert get(running.port, "/a/x")[0] == 200


def controlling(home: Path) -> int:
    """The process that listens for the control API."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(lifecycle.folder(home) / lifecycle.CONTROL_SOCKET))
        return int.from_bytes(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), "little")


def test_an_upgrade_is_done_when_the_new_control_takes_requests(settings: Settings) -> None:
    running = lifecycle.up(settings)
    get(running.port, "/sessions")
    before = controlling(settings.home)

    assert lifecycle.upgrade(settings)

    assert controlling(settings.home) != before
    assert get(running.port, "/sessions")[0] == 200


def test_an_upgrade_that_fails_shows_why(settings: Settings) -> None:
    lifecycle.up(settings)
    (settings.home / "config.yaml").write_text("health_interval_s: soon\n")

    def reason() -> str:
        with pytest.raises(NotReady) as raised:
            lifecycle.upgrade(settings, timeout_s=2)
        return raised.value.message

    wait_until(lambda: "health_interval_s: 'soon' is not a number" in reason(), "the reason")


@pytest.mark.parametrize("access_log", [True, False])
def test_requests_are_logged_unless_unwanted(settings, echo, access_log: bool) -> None:
    running = lifecycle.up(settings, Options(access_log=access_log))
    assert get(running.port, "/a/x")[0] == 200

    assert lifecycle.down(settings)

    assert (lifecycle.folder(settings.home) / "access.log").exists() is access_log


def test_scenario_22_an_upgrade_refuses_nobody(settings: Settings, echo: EchoServer) -> None:
    running = lifecycle.up(settings, Options(workers=2))
    before = fronts(running.pid)
    stop = threading.Event()
    answers: list[int] = []

    def ask() -> None:
        while not stop.is_set():
            answers.append(get(running.port, "/a/x")[0])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        assert lifecycle.upgrade(settings)
        wait_until(
            lambda: len(fronts(running.pid)) == 2 and not before & fronts(running.pid),
            "the change of workers",
        )
        asked = len(answers)
        wait_until(lambda: len(answers) > asked + 50, "more answers")
    finally:
        stop.set()
        for thread in threads:
            thread.join(DEADLINE_S)

    assert set(answers) == {200}
    assert len(before) == 2
    after = lifecycle.status(settings)
    assert after
    assert (after.pid, after.started) == (running.pid, running.started)


def test_a_stale_record_is_no_gateway(settings: Settings) -> None:
    running = lifecycle.up(settings)
    lifecycle.down(settings)
    record = lifecycle.folder(settings.home) / "gateway.json"
    stale = {"version": 1, "pid": os.getpid(), "started": running.started, "host": "127.0.0.1"}
    record.write_text(json.dumps({**stale, "port": 1, "workers": 1, "identity": "", "since": ""}))

    assert lifecycle.status(settings) is None
    assert not lifecycle.down(settings), "and the process with that pid is left alone"


def test_it_runs_in_the_foreground_until_a_signal(settings: Settings) -> None:
    command = [sys.executable, "-m", "kato_manager.gateway", "--home", str(settings.home)]
    command += ["--port", str(settings.gateway_port), "--limit", "idle_s=5"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: listener.ask("127.0.0.1", settings.gateway_port) != "", "an answer")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 0
    assert said.splitlines()[-1].endswith("gateway: ended")


def test_a_limit_that_does_not_exist_is_refused(settings: Settings) -> None:
    command = [sys.executable, "-m", "kato_manager.gateway", "--home", str(settings.home)]

    said = subprocess.run(
        [*command, "--limit", "idle=5"], capture_output=True, text=True, check=False
    )

    assert said.returncode == 2
    assert "there is no limit 'idle' (limits are: connections," in said.stderr


def test_scenario_22_the_control_process_ends_with_its_supervisor(settings: Settings) -> None:
    running = lifecycle.up(settings)
    wait_until(lambda: get(running.port, "/api/instances")[0] == 200, "the control process")
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()

    os.kill(running.pid, signal.SIGKILL)

    wait_until(
        lambda: not any(process.identity(int(child)) for child in children), "the end of all"
    )
    running = lifecycle.up(settings)
    wait_until(lambda: get(running.port, "/api/instances")[0] == 200, "the next control process")
