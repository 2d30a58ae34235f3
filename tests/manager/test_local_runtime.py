"""Processes of this machine: whose they are, and that they end completely."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from homes import Home, get, is_served, stranger, wait_until
from kato_manager import process
from kato_manager.errors import NotReady, PortTaken, StartFailed
from kato_manager.runtimes import folder as local_folder
from kato_manager.runtimes import members
from kato_manager.runtimes.local import LocalRuntime


@pytest.fixture
def manager(home: Home):
    return home.manager()


def family(home: Home) -> list[int]:
    """The pids of the children of an echo processor with `family`."""
    path = home.path / "children"
    return [int(pid) for pid in wait_until(lambda: path.exists() and path.read_text()).split()]


@pytest.fixture
def ended() -> Iterator[list[int]]:
    """Pids to be killed afterwards, whatever the test found."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def with_family(home: Home, **values: object):
    return home.spec(echo="family", env={"ECHO_CHILDREN": str(home.path / "children")}, **values)


@pytest.mark.parametrize("listen", ["fd", "port"])
def test_an_instance_answers_on_its_port_and_ends_with_stop(
    home: Home, manager, listen: str
) -> None:
    instance = manager.start(home.spec(listen=listen))

    assert get(instance.port, "/ping?x=%7C")["path"] == "/ping?x=%7C"
    assert home.processes() == [instance.handle["pid"]]
    manager.stop("a")
    assert home.is_clean()


def test_children_end_with_their_instance_wherever_they_went(
    home: Home, manager, ended: list[int]
) -> None:
    manager.start(with_family(home))
    ended += family(home)

    manager.stop("a")

    assert [pid for pid in ended if process.identity(pid)] == []


def test_children_of_an_instance_that_crashed_end_with_stop(
    home: Home, manager, ended: list[int]
) -> None:
    instance = manager.start(with_family(home))
    ended += family(home)
    os.kill(instance.handle["pid"], signal.SIGKILL)
    wait_until(lambda: process.identity(instance.handle["pid"]) is None)

    manager.stop("a")

    assert [pid for pid in ended if process.identity(pid)] == []


def test_children_of_an_instance_that_crashed_end_with_the_next_start(
    home: Home, manager, ended: list[int]
) -> None:
    before = manager.start(with_family(home))
    ended += family(home)
    os.kill(before.handle["pid"], signal.SIGKILL)
    wait_until(lambda: process.identity(before.handle["pid"]) is None)

    after = manager.start(home.spec("a"))

    assert after.port == before.port
    assert [pid for pid in ended if process.identity(pid)] == []


def test_what_ignores_sigterm_is_killed_after_the_grace(home: Home, manager) -> None:
    manager.start(home.spec(echo="stubborn", grace_s=0.2))

    manager.stop("a")

    assert home.is_clean()


def test_an_instance_survives_the_process_that_started_it(home: Home) -> None:
    home.start("--id", "a")

    (pid,) = home.processes()
    assert os.getsid(pid) == pid
    assert get(home.ports[0])["pid"] == pid


def test_an_instance_inherits_nothing_but_its_socket(home: Home, manager) -> None:
    with socket.socket() as open_here:
        os.set_inheritable(open_here.fileno(), True)
        instance = manager.start(home.spec())

        folder = Path(f"/proc/{instance.handle['pid']}/fd")
        kinds = sorted(str(one.readlink()).split(":")[0] for one in folder.iterdir())
    log = str(home.path / "instances" / "kato-a" / "processor.log")
    assert kinds == sorted(["/dev/null", log, log, "socket"])


def test_a_pid_that_was_given_to_another_process_is_never_signalled(home: Home, manager) -> None:
    instance = manager.start(home.spec())
    manager.runtimes["local"].stop(instance.handle, grace_s=1)
    innocent = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        reused = {**instance.handle, "pid": innocent.pid}
        with manager.registry.edit() as instances:
            instances["a"] = replace(instance, handle=reused)

        assert manager.status()[0].word == "exited"
        manager.stop("a")

        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


def test_the_orphans_of_a_later_leader_with_that_pid_are_never_signalled(
    home: Home, manager, ended: list[int]
) -> None:
    instance = manager.start(home.spec())
    manager.runtimes["local"].stop(instance.handle, grace_s=1)
    script = "sleep 300 & echo $!"
    leader = subprocess.Popen(
        ["sh", "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    innocent = int(leader.stdout.readline())
    ended.append(innocent)
    leader.wait()
    leader.stdout.close()
    with manager.registry.edit() as instances:
        instances["a"] = replace(instance, handle={**instance.handle, "pid": leader.pid})

    manager.stop("a")

    assert process.identity(innocent) is not None


def test_a_handle_from_before_a_reboot_is_dead_and_signals_nobody(home: Home, manager) -> None:
    instance = manager.start(home.spec())
    ticks = instance.handle["started"].partition("@")[0]
    with manager.registry.edit() as instances:
        handle = {**instance.handle, "started": f"{ticks}@another-boot", "operation": "other"}
        instances["a"] = replace(instance, handle=handle)

    assert manager.status()[0].word == "exited"
    manager.stop("a")

    assert process.identity(instance.handle["pid"]) == instance.handle["started"]


def test_no_zombie_stays_in_a_long_living_parent(home: Home, manager) -> None:
    pids = []
    for _ in range(3):
        pids.append(manager.start(home.spec()).handle["pid"])
        manager.stop("a")
    pids.append(manager.start(home.spec()).handle["pid"])
    os.kill(pids[-1], signal.SIGKILL)
    wait_until(lambda: manager.status()[0].word == "exited")

    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def test_the_exit_code_of_a_child_is_told(home: Home) -> None:
    with pytest.raises(StartFailed) as caught:
        home.manager().start(home.spec(echo="die"))

    assert caught.value.message == (
        "instance 'a' ended with exit code 3 before it was ready\n"
        "  | echo a starts\n"
        "  | cannot go on: no reason at all"
    )
    assert caught.value.hint == "kato logs a"
    assert home.is_clean()


def test_a_command_that_does_not_exist_is_named(home: Home, manager) -> None:
    spec = home.spec()
    launch = replace(spec.launch, command=("no-such-program", "{port}"))

    with pytest.raises(StartFailed) as caught:
        manager.start(replace(spec, launch=launch))

    assert caught.value.message == "cannot run no-such-program: No such file or directory"
    assert home.is_clean()


def test_a_program_that_binds_itself_and_loses_moves_to_the_next_port(
    home: Home, monkeypatch
) -> None:
    notes: list[str] = []
    manager = home.manager(notes)
    thieves = []
    spawn = LocalRuntime._spawn

    def stolen_first(self, instance, folder, port, passed):
        if not thieves:
            thieves.append(socket.create_server(("127.0.0.1", port)))
        return spawn(self, instance, folder, port, passed)

    monkeypatch.setattr(LocalRuntime, "_spawn", stolen_first)
    try:
        instance = manager.start(home.spec(listen="port"))
    finally:
        thieves[0].close()

    assert instance.port == home.ports[1]
    assert get(instance.port)["instance_id"] == "a"
    assert notes == [
        f"port {home.ports[0]} was taken before the instance could bind it; using {home.ports[1]}"
    ]


def test_a_program_that_never_binds_is_given_up_in_time(home: Home, manager) -> None:
    begun = time.monotonic()

    with pytest.raises(NotReady, match=r"was not ready after 1\.5 s"):
        manager.start(home.spec(listen="port", echo="deaf"), timeout_s=1.5)

    assert 1.5 <= time.monotonic() - begun < 2.8  # one limit for binding and answering together
    assert home.is_clean()


def test_without_waiting_a_program_that_binds_late_is_started_at_once(home: Home, manager) -> None:
    instance = manager.start(home.spec(listen="port", echo="deaf"), wait=False)

    assert home.processes() == [instance.handle["pid"]]
    manager.stop("a")
    assert home.is_clean()


def test_a_program_that_claims_another_id_is_not_taken_for_the_instance(
    home: Home, manager
) -> None:
    with pytest.raises(NotReady) as caught:
        manager.start(home.spec(echo="stranger"), timeout_s=0.3)

    assert caught.value.message == (
        f"instance 'a' was not ready after 0.3 s: port {home.ports[0]} is answered by"
        " 'somebody-else'\n  | echo a starts"
    )


def test_a_strangers_port_is_never_verified_as_ours(home: Home, manager) -> None:
    runtime = manager.runtimes["local"]
    instance = manager.start(home.spec(listen="port", echo="deaf"), wait=False)

    with stranger(instance.port), pytest.raises(PortTaken):
        runtime.await_bind(instance.handle, 5)

    assert home.processes() == []


def test_the_log_is_turned_over_when_it_has_grown(home: Home, manager, monkeypatch) -> None:
    monkeypatch.setattr(local_folder, "LOG_LIMIT_BYTES", 20)
    manager.start(home.spec(env={"ECHO_RUN": "one"}))
    folder = home.path / "instances" / "kato-a"
    with (folder / "processor.log").open("a") as log:
        log.write("something long enough\n")

    manager.restart("a")

    assert (folder / "processor.log.1").read_text() == "echo a starts\nsomething long enough\n"
    assert (folder / "processor.log").read_text() == "echo a starts\n"


def test_logs_begin_with_the_last_lines(home: Home, manager) -> None:
    manager.start(home.spec(echo="chatty"))
    wait_until(lambda: list(manager.logs("a", tail=None, follow=False))[3:])

    lines = list(manager.logs("a", tail=None, follow=False))
    assert lines[:3] == ["echo a starts", "line 0", "line 1"]
    (last,) = manager.logs("a", tail=1, follow=False)
    assert int(last.split()[1]) >= len(lines) - 2
    assert list(manager.logs("a", tail=0, follow=False)) == []


def test_following_the_log_ends_with_the_instance(home: Home, manager) -> None:
    manager.start(home.spec(echo="chatty"))
    follower = manager.logs("a", tail=0, follow=True)
    first = list(itertools.islice(follower, 3))
    rest: list[str] = []
    reader = threading.Thread(target=lambda: rest.extend(follower))
    reader.start()

    home.manager().stop("a")
    reader.join(10)

    assert not reader.is_alive()
    numbers = [int(line.split()[1]) for line in first + rest]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_a_line_written_in_pieces_is_followed_as_one(home: Home, manager) -> None:
    instance = manager.start(home.spec())
    path = home.path / "instances" / "kato-a" / "processor.log"
    follower = manager.logs("a", tail=1, follow=True)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.extend(follower))
    with path.open("a") as log:
        log.write("begun ")
        log.flush()
        reader.start()
        log.write("ended\n")
    manager.runtimes["local"].stop(instance.handle, grace_s=1)
    reader.join(10)

    assert found == ["begun ended"]


def test_bytes_that_are_no_text_do_not_end_the_log(home: Home, manager) -> None:
    manager.start(home.spec())
    with (home.path / "instances" / "kato-a" / "processor.log").open("ab") as log:
        log.write(b"\xff\xfe broken\n")

    assert list(manager.logs("a", tail=1, follow=False)) == ["\ufffd\ufffd broken"]


def test_purge_deletes_the_data_and_stop_does_not(home: Home, manager) -> None:
    manager.start(home.spec())
    kept = home.path / "instances" / "kato-a" / "data" / "memory"
    kept.write_text("precious")

    manager.stop("a")
    assert kept.read_text() == "precious"
    manager.start(home.spec())
    manager.stop("a", purge=True)
    assert not kept.parent.parent.exists()


def test_everything_below_the_home_is_private(home: Home) -> None:
    manager = home.manager()
    manager.start(home.spec())

    for path in home.path.rglob("*"):
        if "templates" not in path.parts:
            assert path.stat().st_mode & 0o077 == 0, path


def test_a_folder_whose_record_is_damaged_is_passed_over(home: Home, manager) -> None:
    manager.start(home.spec("a"))
    manager.start(home.spec("b"))
    for number, text in enumerate(["{", "{}", '{"instance": 3}', "[]"]):
        folder = home.path / "instances" / f"kato-x{number}"
        folder.mkdir()
        (folder / "instance.json").write_text(text)

    assert [found.instance.id for found in manager.runtimes["local"].find()] == ["a", "b"]


def test_ids_that_look_alike_have_folders_of_their_own(home: Home, manager) -> None:
    for one in ("a.b", "a_b", "a b", "a-b"):
        manager.start(home.spec(one))

    assert sorted(path.name for path in (home.path / "instances").iterdir()) == [
        "kato-a-b",
        "kato-a.20b",
        "kato-a.2eb",
        "kato-a_b",
    ]
    assert {get(one.port)["instance_id"] for one in manager.registry.read().values()} == {
        "a.b",
        "a_b",
        "a b",
        "a-b",
    }


def test_a_port_that_is_served_on_after_the_end_is_an_error(
    home: Home, manager, ended: list[int], monkeypatch
) -> None:
    """A process that took the socket along and has hidden every trace of the instance."""
    monkeypatch.setattr(members, "_FORCED_END_S", 0.3)
    told = home.path / "monster"
    monster = (
        "import os, sys, time\n"
        "if os.fork(): time.sleep(300)\n"
        "os.setsid()\n"
        "if os.fork(): os._exit(0)\n"
        f"file = open({str(told)!r}, 'w'); file.write(str(os.getpid())); file.close()\n"
        "os.execve(sys.executable, ['python', '-c', 'import time; time.sleep(300)'], {})\n"
    )
    spec = home.spec()
    launch = replace(spec.launch, command=(sys.executable, "-c", monster))
    instance = manager.start(replace(spec, launch=launch), wait=False)
    ended.append(wait_until(lambda: told.exists() and int(told.read_text() or 0)))
    environment = Path(f"/proc/{ended[0]}/environ")
    wait_until(lambda: not environment.read_bytes(), "the environment is hidden")

    with pytest.raises(StartFailed) as caught:
        manager.stop("a")

    assert str(caught.value) == (
        f"port {instance.port} is still served although the instance has ended"
    )
    os.kill(ended[0], signal.SIGKILL)
    wait_until(lambda: not is_served(instance.port))
    manager.stop("a")
    assert home.is_clean()
