"""kill -9 in the middle of a command: the next one repairs, and nothing is orphaned."""

import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from homes import Home, get, wait_until
from kato_manager import crash_points

KILLED = -signal.SIGKILL


def at(*verbs: str) -> list[str]:
    """The crash points of these verbs."""
    return [name for name in crash_points.NAMES if name.partition(".")[0] in verbs]


def is_consistent(home: Home) -> bool:
    """What is recorded as running is all that lives, answers, and nobody is at work on it."""
    entries = home.document["instances"] if home.registry.exists() else {}
    assert {entry["operation"] and entry["operation"]["id"] for entry in entries.values()} <= {None}
    running = {one: entry for one, entry in entries.items() if entry["status"] == "running"}
    assert sorted(home.listening()) == sorted(entry["api_port"] for entry in running.values())
    assert sorted(home.processes()) == sorted(
        get(entry["api_port"])["pid"] for entry in running.values()
    )
    assert {get(entry["api_port"])["instance_id"] for entry in running.values()} == set(running)
    return True


def test_every_crash_point_is_met_by_a_test() -> None:
    assert at("start", "stop", "restart", "replace") == list(crash_points.NAMES)


def killed_at(point: str, work: Callable[[], object]) -> None:
    """Another process does the work and is killed at this point of it."""
    pid = os.fork()
    if not pid:
        crash_points._CRASH_AT = point
        try:
            work()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == KILLED


def test_a_command_repairs_what_the_killed_one_left(home: Home) -> None:
    killed = home.start("--id", "a", env={"KATO_CRASH_POINT": "start.launched"})
    assert killed.code == KILLED
    assert home.kato("list", "--format", "json").json["instances"][0]["status"] == "starting"

    assert home.kato("status").code == 0

    assert home.is_clean()


@pytest.mark.parametrize("point", at("start"))
def test_a_killed_start_is_undone_by_whatever_comes_next(home: Home, point: str) -> None:
    killed_at(point, lambda: home.manager().start(home.spec()))
    assert home.document["instances"]["a"]["operation"]["verb"] == "start"

    home.manager().settle_all()

    assert home.is_clean()


@pytest.mark.parametrize("point", at("start"))
def test_a_killed_start_can_be_repeated(home: Home, point: str) -> None:
    killed_at(point, lambda: home.manager().start(home.spec(env={"ECHO_RUN": "killed"})))

    again = home.manager().start(home.spec(env={"ECHO_RUN": "again"}))

    assert again.port == home.ports[0]
    assert is_consistent(home)
    assert get(again.port)["settings"] == {"ECHO_RUN": "again"}


@pytest.mark.parametrize("point", at("stop"))
def test_a_killed_stop_is_finished_by_whatever_comes_next(home: Home, point: str) -> None:
    home.manager().start(home.spec())
    killed_at(point, lambda: home.manager().stop("a"))

    home.manager().settle_all()

    assert home.is_clean()


@pytest.mark.parametrize("point", at("stop"))
def test_a_killed_stop_can_be_repeated(home: Home, point: str) -> None:
    home.manager().start(home.spec())
    killed_at(point, lambda: home.manager().stop("a"))

    home.manager().stop("a")

    assert home.is_clean()


@pytest.mark.parametrize("point", at("stop"))
def test_a_killed_stop_that_keeps_the_entry_keeps_it(home: Home, point: str) -> None:
    home.manager().start(home.spec())
    killed_at(point, lambda: home.manager().stop("a", keep="idle for 9 s"))

    home.manager().settle_all()

    (entry,) = home.document["instances"].values()
    assert (entry["status"], entry["reason"], entry["operation"]) == (
        "stopped",
        "idle for 9 s",
        None,
    )
    assert not home.processes()


@pytest.mark.parametrize("point", at("restart"))
def test_a_killed_restart_leaves_one_that_serves_or_one_that_is_stopped(
    home: Home, point: str
) -> None:
    new = home.spec(env={"ECHO_RUN": "new"})
    home.manager().start(home.spec(env={"ECHO_RUN": "old"}))
    killed_at(point, lambda: home.manager().restart("a", spec=new))

    home.manager().settle_all()

    assert is_consistent(home)
    (entry,) = home.document["instances"].values()
    runs = {"restart.marked": "old", "restart.launched": "new", "restart.ready": "new"}
    assert [get(port)["settings"]["ECHO_RUN"] for port in home.listening()] == [
        run for name, run in runs.items() if name == point
    ]
    assert (entry["status"] == "running") == (point in runs)
    home.manager().restart("a", spec=new)
    assert is_consistent(home)
    assert get(home.ports[0])["settings"] == {"ECHO_RUN": "new"}


@pytest.mark.parametrize("point", at("replace"))
def test_a_killed_replacement_leaves_exactly_one_that_serves(home: Home, point: str) -> None:
    new = home.spec(env={"ECHO_RUN": "new"})
    home.manager().start(home.spec(env={"ECHO_RUN": "old"}))
    killed_at(point, lambda: home.manager().replace("a", new))

    home.manager().settle_all()

    assert is_consistent(home)
    (entry,) = home.document["instances"].values()
    run = get(entry["api_port"])["settings"]["ECHO_RUN"]
    assert run == entry["spec"]["env"]["ECHO_RUN"]
    assert run == ("old" if point == "replace.marked" else "new")


COMMANDS = (
    ("start", "--template", "echo", "--no-gateway", "--id", "a"),
    ("start", "--template", "echo-port", "--no-gateway", "--id", "b"),
    ("restart", "a"),
    ("restart", "b", "--max-predictions", "7"),
    ("stop", "a"),
    ("stop", "--all"),
)


def kill_at_random(home: Home, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(kills):
        command = home.spawn(*chance.choice(COMMANDS))
        time.sleep(chance.uniform(0.05, 0.6))  # the moment of the kill, nothing is waited for
        command.send_signal(signal.SIGKILL)
        command.communicate()
    home.kato("status")
    assert is_consistent(home)
    assert home.kato("stop", "--all").code == 0
    wait_until(home.is_clean, f"clean after seed {seed}")


def test_twenty_random_kills_leave_nothing_behind(home: Home) -> None:
    kill_at_random(home, 20, seed=20)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(4))
def test_fifty_random_kills_leave_nothing_behind_four_times(home: Home, seed: int) -> None:
    kill_at_random(home, 50, seed=seed)
