"""Disks and files that fail: numbers 11 to 16."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fakes import FakeRuntime
from homes import Home, get, wait_until
from kato_manager.registry import Registry


@pytest.fixture
def cramped(home: Home, small_disk: Path) -> Home:
    """The home on a small disk."""
    shutil.copytree(home.path / "templates", small_disk / "templates")
    home.path = small_disk
    home.environ["KATO_HOME"] = str(small_disk)
    return home


def test_11_a_full_disk_fails_the_command_and_changes_nothing(cramped: Home, filled) -> None:
    cramped.start("--id", "a")
    before = cramped.registry.read_bytes(), (cramped.path / "instances.json.bak").read_bytes()
    ballast = filled(cramped.path)

    done = cramped.start("--id", "b")

    assert done.code == 1
    assert done.err.startswith("error: ")
    assert done.err.endswith("No space left on device\n")
    assert "Traceback" not in done.err
    after = cramped.registry.read_bytes(), (cramped.path / "instances.json.bak").read_bytes()
    assert after == before
    assert cramped.listening() == [cramped.ports[0]]
    assert cramped.ids() == ["a"]
    ballast.unlink()
    assert cramped.start("--id", "b").code == 0


def test_11_a_disk_that_fills_while_it_starts_leaves_nothing_running(cramped: Home, filled) -> None:
    class Filling(FakeRuntime):
        def start(self, instance, listener):
            handle = super().start(instance, listener)
            self.ballast = filled(cramped.path)
            return handle

    runtime = Filling()
    manager = cramped.manager()
    manager.runtimes.use(runtime)

    with pytest.raises(OSError, match="No space left"):
        manager.start(cramped.spec("a"))

    assert runtime.running == []
    assert cramped.listening() == []
    runtime.ballast.unlink()
    cramped.manager().settle_all()
    assert cramped.is_clean()


@pytest.mark.parametrize("damage", ["{", "", '{"instances": {"a": 3}}'])
def test_12_a_damaged_registry_is_restored_and_kept_aside(home: Home, damage: str) -> None:
    home.start("--id", "a")
    good = home.document
    home.registry.write_text(damage)

    listed = home.kato("list", "--format", "json")
    assert [one["status"] for one in listed.json["instances"]] == ["running"]
    assert listed.err.startswith(f"{home.registry} is damaged (")
    assert home.registry.read_text() == damage
    done = home.start("--id", "b")

    assert done.code == 0
    (aside,) = home.path.glob("instances.json.corrupt-*")
    assert aside.read_text() == damage
    assert f"the damaged registry is kept as {aside}\n" in done.err
    assert home.document["instances"]["a"] == good["instances"]["a"]
    assert home.document["registry"] == good["registry"]


def test_12_a_damaged_registry_that_nothing_restores_stops_every_command(home: Home) -> None:
    home.registry.write_text('{"instances": {')

    for words in (("list",), ("stop", "--all"), ("start", "--id", "a")):
        done = home.kato(*words)
        assert (done.code, done.out) == (1, "")
        assert f"hint: mend the file by hand, or set it aside: mv {home.registry} " in done.err
    assert home.registry.read_text() == '{"instances": {'


def test_13_after_rm_of_the_registry_list_finds_what_runs_and_writes_nothing(home: Home) -> None:
    home.start("--id", "a", "--name", "Ä b", "--recall-threshold", "0.7", "--port", "9")
    home.start("--id", "a", "--name", "Ä b", "--recall-threshold", "0.7")
    home.start("--id", "gone")
    home.kato("stop", "gone")
    good = home.document
    home.registry.unlink()

    listed = home.kato("list", "--format", "json")

    (one,) = listed.json["instances"]
    assert listed.err == f"{home.registry} is missing; found a\n"
    assert (one["id"], one["name"], one["api_port"], one["status"]) == (
        "a",
        "Ä b",
        home.ports[0],
        "running",
    )
    assert one["settings"] == {"recall_threshold": 0.7, "max_predictions": 100}
    assert not home.registry.exists()
    assert home.start("--id", "b").code == 0
    assert list(home.document["instances"]) == ["a", "b"]
    assert home.document["ports"] == {**good["ports"], "b": home.document["ports"]["b"]}


def test_13_a_home_whose_files_are_all_gone_is_rebuilt_from_what_runs(home: Home) -> None:
    home.start("--id", "a")
    home.registry.unlink()
    (home.path / "instances.json.bak").unlink()

    assert home.kato("stop", "a").code == 0

    assert home.is_clean()


def test_14_a_registry_of_a_newer_kato_is_shown_and_never_written(home: Home) -> None:
    home.start("--id", "a")
    document = {**home.document, "version": 2}
    text = json.dumps(document)
    home.registry.write_text(text)

    assert home.ids() == ["a"]
    for words in (("start", "--id", "b"), ("stop", "a"), ("restart", "a")):
        done = home.kato(*words)
        assert done.code == 1
        assert done.err == (
            f"error: {home.registry} has version 2, this kato writes version 1\n"
            "hint: upgrade kato-manager; listing and reaching instances still works\n"
        )
    assert home.registry.read_text() == text
    assert get(home.ports[0])["instance_id"] == "a"


HOLD = """
import sys, time
from pathlib import Path
from kato_manager.registry import Registry
with Registry(Path(sys.argv[1])).edit():
    print("held", flush=True)
    time.sleep(300)
"""


@pytest.fixture
def holder(home: Home):
    """Another process that holds the registry."""
    command = [sys.executable, "-c", HOLD, str(home.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_15_a_lock_ends_with_its_holder_however_that_dies(
    home: Home, holder: "subprocess.Popen[str]"
) -> None:
    inode = (home.path / "instances.json.lock").stat().st_ino
    refused = home.start("--id", "a", "--lock-timeout", "0")
    assert refused.code == 7
    assert refused.err.startswith(
        f"error: the registry is held by -c {home.path} (pid {holder.pid})"
    )
    assert refused.err.endswith("hint: wait for it, or give it longer: --lock-timeout SECONDS\n")

    holder.send_signal(signal.SIGKILL)
    holder.wait()

    assert home.start("--id", "a", "--lock-timeout", "0").code == 0
    assert (home.path / "instances.json.lock").stat().st_ino == inode


def test_15_who_waits_is_told_for_whom_and_gets_it_in_the_end(
    home: Home, holder: "subprocess.Popen[str]"
) -> None:
    command = home.spawn("start", "--id", "a", "--template", "echo", "--no-gateway")
    told = command.stderr.readline()
    holder.send_signal(signal.SIGKILL)

    command.communicate()

    assert told.startswith(f"waiting for the registry, held by -c {home.path} (pid {holder.pid})")
    assert command.returncode == 0


def test_15_readers_never_wait(home: Home, holder: "subprocess.Popen[str]") -> None:
    assert home.kato("list").code == 0
    assert holder.poll() is None


def test_16_no_child_inherits_a_lock(home: Home) -> None:
    """Spawned while locks are held on purpose, a child that lives on holds none of them."""
    manager = home.manager()
    with Registry(home.path).edit() as instances:
        inside = subprocess.Popen(["sleep", "300"])
        del instances
    try:
        instance = manager.start(home.spec())
        for pid in (inside.pid, instance.handle["pid"]):
            open_files = [str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()]
            assert [one for one in open_files if one.endswith(".lock")] == []
        os.kill(instance.handle["pid"], signal.SIGSTOP)
        quick = replace(manager.settings, lock_timeout_s=0)
        other = home.manager()
        other.settings = quick
        os.kill(instance.handle["pid"], signal.SIGCONT)
        other.stop("a")
    finally:
        inside.kill()
        inside.wait()
    wait_until(home.is_clean)
