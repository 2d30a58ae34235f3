"""Many starts at once, stolen ports, slow and failing programs: numbers 3, 4, 5, 17 and 24."""

import os
import signal
import socket
import threading
from contextlib import ExitStack

import psutil
import pytest

from fakes import FakeRuntime, Slow
from homes import Home, get, stranger, wait_until
from kato_manager.model import Status

START = ("start", "--template", "echo", "--no-gateway", "--format", "json")


def finished(commands) -> list[int]:
    """How all of them ended."""
    for command in commands:
        command.communicate(timeout=110)
    return [command.returncode for command in commands]


def test_03_eight_starts_of_the_same_id_are_one_instance_and_eight_successes(home: Home) -> None:
    codes = finished([home.spawn(*START, "--id", "a") for _ in range(8)])

    assert codes == [0] * 8
    assert home.ids() == ["a"]
    assert home.processes() == [get(home.ports[0])["pid"]]


def test_04_twenty_four_starts_at_once_have_ports_of_their_own(home: Home) -> None:
    codes = finished([home.spawn(*START, "--id", f"i{number}") for number in range(24)])

    assert codes == [0] * 24
    listed = home.kato("list", "--format", "json").json["instances"]
    assert {one["id"]: one["status"] for one in listed} == {f"i{n}": "running" for n in range(24)}
    assert sorted(one["api_port"] for one in listed) == list(home.ports[:24])
    assert {one["id"] for one in listed} == {get(one["api_port"])["instance_id"] for one in listed}


def test_04_starts_of_the_real_processor_at_once_have_ports_of_their_own(home: Home) -> None:
    start = ("start", "--no-gateway", "--id")
    codes = finished([home.spawn(*start, one) for one in ("a", "b", "c")])

    assert codes == [0, 0, 0]
    ports = {entry["api_port"] for entry in home.document["instances"].values()}
    assert ports == set(home.ports[:3])
    assert {get(port, "/health")["instance_id"] for port in ports} == {"a", "b", "c"}


def test_04_two_homes_that_share_a_range_do_not_share_a_port(home: Home, tmp_path) -> None:
    other = {"KATO_HOME": str(tmp_path / "other")}
    template = str(home.path / "templates" / "echo.yaml")
    with ExitStack() as ended:
        ended.callback(lambda: home.kato("stop", "--all", env=other))
        start = ("start", "--no-gateway", "--template", template)
        commands = [
            home.spawn(*start, "--id", f"i{number}", env=env)
            for number in range(4)
            for env in ({}, other)
        ]

        assert finished(commands) == [0] * 8
        assert home.listening() == list(home.ports[:8])


@pytest.mark.parametrize("template", ["echo", "echo-port"])
def test_05_a_stranger_on_the_port_moves_the_start_and_is_named(home: Home, template: str) -> None:
    with stranger(home.ports[0]):
        done = home.kato(
            "start", "--id", "a", "--no-gateway", "--template", template,
            "--port", str(home.ports[0]),
        )  # fmt: skip

    assert done.code == 0
    assert get(home.ports[1])["instance_id"] == "a"
    holder = psutil.Process().name()
    assert done.err.startswith(f"port {home.ports[0]} is used by {holder} (pid {os.getpid()});")
    assert done.err.endswith(f"; using {home.ports[1]}\n")


def test_05_strangers_that_come_and_go_never_share_a_port_with_an_instance(home: Home) -> None:
    """While strangers open and close listeners all over the range, instances start beside them."""
    over = threading.Event()
    taken: list[OSError] = []

    def bother() -> None:
        while not over.is_set():
            for port in home.ports[:6]:
                try:
                    with socket.create_server(("127.0.0.1", port)):
                        pass
                except OSError as error:
                    taken.append(error)

    nuisance = threading.Thread(target=bother)
    nuisance.start()
    try:
        manager = home.manager()
        made = [manager.start(home.spec(f"i{n}", listen="fd")) for n in range(6)]
    finally:
        over.set()
        nuisance.join()

    assert len({one.port for one in made}) == 6
    assert [get(one.port)["instance_id"] for one in made] == [one.id for one in made]
    assert taken


def test_17_a_slow_start_holds_the_registry_for_moments_only(home: Home) -> None:
    slow = Slow()
    manager = home.manager()
    manager.runtimes.use(slow)
    thread = threading.Thread(target=manager.start, args=(home.spec("slow"),))
    thread.start()
    try:
        assert slow.began.wait(20)

        entry = home.manager().registry.read()["slow"]
        assert (entry.status, entry.operation.verb) == (Status.STARTING, "start")
        (listed,) = home.kato("list", "--format", "json").json["instances"]
        assert (listed["id"], listed["status"]) == ("slow", "starting")
        assert home.start("--id", "quick", "--lock-timeout", "5").code == 0
        waiting = home.kato("stop", "slow", "--lock-timeout", "0")
        assert waiting.code == 7
        assert waiting.err.startswith("error: instance 'slow' is held by ")
    finally:
        slow.go.set()
        thread.join()
        slow.close()


def test_24_a_crash_at_the_start_is_told_at_once_with_the_last_lines(home: Home) -> None:
    done = home.start("--id", "a", "--timeout", "600", env={"ECHO": "die"})

    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "error: instance 'a' ended with exit code 3 before it was ready\n"
        "  | echo a starts\n"
        "  | cannot go on: no reason at all\n"
        "hint: kato logs a\n"
    )
    assert home.is_clean()


def test_24_what_is_never_ready_is_given_up(home: Home) -> None:
    done = home.start("--id", "a", "--timeout", "0.3", env={"ECHO": "ill"})

    assert done.code == 6
    assert done.err == (
        "error: instance 'a' was not ready after 0.3 s: GET /health answered 503\n"
        "  | echo a starts\n"
        "hint: give it longer with --timeout; see kato logs a\n"
    )
    assert home.is_clean()


def test_24_a_wrong_service_is_not_taken_for_the_instance(home: Home) -> None:
    done = home.start("--id", "a", "--timeout", "0.3", env={"ECHO": "stranger"})

    assert done.code == 6
    assert f"port {home.ports[0]} is answered by 'somebody-else'" in done.err
    assert home.is_clean()


def test_24_waiting_for_readiness_only_reads(home: Home) -> None:
    seen: list[str] = []

    class Watched(FakeRuntime):
        def start(self, instance, listener):
            handle = super().start(instance, listener)
            server = self._running[handle["number"]][1]
            handler = server.RequestHandlerClass
            answer = handler.do_GET

            def watched(self) -> None:
                seen.append(f"{self.command} {self.path}")
                answer(self)

            handler.do_GET = watched
            return handle

    manager = home.manager()
    runtime = Watched()
    manager.runtimes.use(runtime)
    manager.start(home.spec())
    runtime.close()

    assert set(seen) == {"GET /health"}


def test_24_an_instance_that_crashes_later_is_listed_as_exited_and_starts_again(
    home: Home,
) -> None:
    home.start("--id", "a")
    (pid,) = home.processes()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not home.processes())

    (listed,) = home.kato("list", "--format", "json").json["instances"]
    assert listed["status"] == "exited"
    assert home.kato("status").code == 3
    assert home.start("--id", "a").code == 0
    assert get(home.ports[0])["instance_id"] == "a"
