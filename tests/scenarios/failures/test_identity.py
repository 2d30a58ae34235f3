"""Processes, clocks and names that are not what they seem: numbers 18 to 21."""

import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from homes import Home, get, wait_until
from kato_manager import process
from kato_manager.errors import NotReady


@pytest.fixture
def innocent():
    """A process of somebody else, leading a session of its own."""
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as one:
        yield one
        one.kill()


def test_18_a_pid_that_was_given_away_is_listed_as_exited_and_not_signalled(
    home: Home, innocent: "subprocess.Popen[bytes]"
) -> None:
    home.start("--id", "a")
    (pid,) = home.processes()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not home.processes())
    with home.manager().registry.edit() as instances:
        handle = {**instances["a"].handle, "pid": innocent.pid}
        instances["a"] = replace(instances["a"], handle=handle)

    (listed,) = home.kato("list", "--format", "json").json["instances"]
    assert listed["status"] == "exited"
    assert home.kato("stop", "a").code == 0
    assert innocent.poll() is None
    assert home.is_clean()


def test_18_after_a_reboot_nothing_is_taken_for_ours(
    home: Home, innocent: "subprocess.Popen[bytes]"
) -> None:
    """The same pid and even the same start ticks, in another boot."""
    home.start("--id", "a")
    (pid,) = home.processes()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not home.processes())
    ticks = process.identity(innocent.pid).partition("@")[0]
    with home.manager().registry.edit() as instances:
        before = {"pid": innocent.pid, "started": f"{ticks}@before-the-reboot"}
        handle = {**instances["a"].handle, **before}
        instances["a"] = replace(instances["a"], handle=handle)

    assert home.kato("status", "a").code == 3
    assert home.start("--id", "a").code == 0

    assert innocent.poll() is None
    assert get(home.ports[0])["instance_id"] == "a"


def test_19_children_that_left_the_session_or_their_environment_end_with_stop(
    home: Home,
) -> None:
    told = home.path / "children"
    home.start("--id", "a", env={"ECHO": "family", "ECHO_CHILDREN": str(told)})
    pids = [int(pid) for pid in told.read_text().split()]
    assert [process.identity(pid) is not None for pid in pids] == [True, True, True]

    done = home.kato("stop", "a")

    assert (done.code, done.out) == (0, "a  stopped\n")
    assert [process.identity(pid) for pid in pids] == [None, None, None]
    assert home.is_clean()


def test_20_a_clock_that_jumps_does_not_shorten_or_lengthen_a_wait(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10**9, 10**6))
    monkeypatch.setattr("time.time", lambda: float(next(clock)))

    manager = home.manager()
    manager.start(home.spec("a"), timeout_s=20)
    with pytest.raises(NotReady, match=r"not ready after 0\.2 s"):
        manager.start(home.spec("b", echo="ill"), timeout_s=0.2)
    manager.stop("a")

    assert home.is_clean()


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/St_Johns"])
def test_20_times_are_stored_in_utc_whatever_the_zone(home: Home, zone: str) -> None:
    done = home.start("--id", "a", env={"TZ": zone})

    assert done.code == 0
    utc = subprocess.run(
        ["date", "-u", "+%Y-%m-%dT%H"], capture_output=True, text=True, check=True
    ).stdout.strip()
    updated = home.document["instances"]["a"]["updated"]
    assert updated.endswith("Z")
    assert updated[:11] == utc[:11]


def test_20_a_file_written_in_the_future_is_edited_all_the_same(home: Home) -> None:
    home.start("--id", "a")
    text = home.registry.read_text()
    home.registry.write_text(text.replace('"updated": "20', '"updated": "29'))
    os.utime(home.registry, (4e9, 4e9))

    assert home.kato("restart", "a").code == 0

    assert home.document["instances"]["a"]["updated"].startswith("20")


def test_21_ids_that_a_sanitiser_would_merge_stay_apart(home: Home) -> None:
    ids = ["a.b", "a_b", "a b", "ä", "a%2Eb"]
    for one in ids:
        assert home.start("--id", one).code == 0

    listed = home.kato("list", "--format", "json").json["instances"]
    assert [one["id"] for one in listed] == ids
    assert [one["container"] for one in listed] == [
        "kato-a.2eb",
        "kato-a_b",
        "kato-a.20b",
        "kato-.c3.a4",
        "kato-a.252Eb",
    ]
    assert [get(one["api_port"])["instance_id"] for one in listed] == ids
    assert home.kato("stop", "a.b").out == "a.b  stopped\n"
    assert home.ids() == ids[1:]


REFUSED = {
    "a/b": "may not contain '/'",
    ".a": "may not start with '.'",
    "a\tb": "contains a control character",
    "x" * 64: "has 64 characters, at most 63 are allowed",
    "Sessions": "is reserved for the gateway's own paths",
    "openapi.json": "is reserved for the gateway's own paths",
    "": "is empty",
    "a ": "may not start or end with a space",
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_21_an_id_that_would_collide_is_refused_with_the_rule(home: Home, wrong: str) -> None:
    done = home.start("--id", wrong)

    assert done.code == 2
    assert REFUSED[wrong] in done.err
    assert not home.registry.exists() or home.document["instances"] == {}


def test_21_the_longest_id_has_names_of_its_own(home: Home) -> None:
    long, twin = "é" * 63, "é" * 62 + "e"
    for one in (long, twin):
        assert home.start("--id", one).code == 0

    folders = [path.name for path in (home.path / "instances").iterdir()]
    assert len(folders) == 2
    assert all(len(name) <= 68 for name in folders)


def test_every_failure_of_the_core_is_tested_under_its_number() -> None:
    here = Path(__file__).parent
    text = "".join(path.read_text(encoding="utf-8") for path in here.glob("test_*.py"))
    numbers = (3, 4, 5, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 24)
    table = (here.parent / "failures.md").read_text(encoding="utf-8")

    assert [number for number in numbers if f"def test_{number:02}_" not in text] == []
    assert [number for number in range(1, 26) if f"\n| {number} | " not in table] == []
