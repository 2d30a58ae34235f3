"""The commands on a real engine: what a user types, what dies in between, what one repair does."""

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from contained import Contained
from engines import endpoint, facts
from homes import Home, get, wait_until
from kato_manager import crash_points, doctor
from kato_manager.model import touched

pytestmark = pytest.mark.docker

KILLED = -signal.SIGKILL


@pytest.fixture
def contained(home: Home) -> Iterator[Contained]:
    one = Contained(home)
    yield one
    one.close()


def test_a_container_lives_from_start_to_stop_by_commands(contained: Contained) -> None:
    a, kato = contained.id("a"), contained.home.kato

    started = contained.start("a", "--recall-threshold", "0.3", "--format", "json")

    assert started.code == 0, started.err
    (entry,) = contained.entries().values()
    assert (entry["runtime"], entry["container"]) == ("docker", f"kato-{a}")
    assert get(entry["api_port"])["settings"]["ECHO_RECALL_THRESHOLD"] == "0.3"
    assert kato("status", a).code == 0
    assert kato("exec", a, "--", "sh", "-c", "exit 7").code == 7
    (usage,) = kato("stats", "--format", "json").json["stats"]
    assert (usage["id"], usage["memory_bytes"] > 0) == (a, True)
    assert kato("logs", a).code == 0
    assert kato("restart", a, "--recall-threshold", "0.4").code == 0
    assert get(entry["api_port"])["settings"]["ECHO_RECALL_THRESHOLD"] == "0.4"
    assert contained.is_consistent()
    assert kato("stop", a).code == 0
    assert (contained.entries(), contained.containers()) == ({}, {})


@pytest.mark.parametrize("point", [name for name in crash_points.NAMES if "replace" not in name])
def test_one_repair_puts_right_what_a_killed_command_left(contained: Contained, point: str) -> None:
    """Scenarios 1 and 2 by the commands."""
    verb = point.partition(".")[0]
    killed = {"KATO_CRASH_POINT": point}
    if verb == "start":
        assert contained.start("a", env=killed).code == KILLED
    else:
        assert contained.start("a").code == 0
        assert contained.home.kato(verb, contained.id("a"), env=killed).code == KILLED

    assert contained.home.kato("doctor", "--fix").code == 0

    assert contained.is_consistent()
    assert len(contained.entries()) == (verb == "restart")
    assert contained.home.kato("doctor").code == 0


@pytest.mark.parametrize("point", [name for name in crash_points.NAMES if "replace" in name])
def test_a_killed_replacement_ends_with_one_that_serves(contained: Contained, point: str) -> None:
    assert contained.start("a").code == 0
    file = contained.home.path / "multi.yaml"
    wanted = {"id": contained.id("a"), "template": "contained", "recall_threshold": 0.7}
    file.write_text(json.dumps({"instances": [wanted]}))
    apply = ("apply", "-f", str(file), "-y", "--no-gateway")
    assert contained.home.kato(*apply, env={"KATO_CRASH_POINT": point}).code == KILLED

    assert contained.home.kato("doctor", "--fix").code == 0

    assert contained.is_consistent()
    assert contained.home.kato(*apply).code == 0
    assert contained.is_consistent()
    (entry,) = contained.entries().values()
    assert get(entry["api_port"])["settings"]["ECHO_RECALL_THRESHOLD"] == "0.7"


def kill_at_random(contained: Contained, kills: int, seed: int) -> None:
    """Commands die at random moments beside an instance that none of them touches."""
    chance = random.Random(seed)
    assert contained.start("bystander").code == 0
    (untouched,) = contained.containers().values()
    words = ("--template", "contained", "--no-gateway", "--id", contained.id("a"))
    commands = (("start", *words), ("restart", contained.id("a")), ("stop", contained.id("a")))
    for _ in range(kills):
        command = contained.home.spawn(*chance.choice(commands))
        time.sleep(chance.uniform(0.1, 1.2))  # the moment of the kill, nothing is waited for
        command.send_signal(signal.SIGKILL)
        command.communicate()

    mended = contained.home.kato("doctor", "--fix")

    assert mended.code == 0, mended.out + mended.err
    assert contained.is_consistent()
    after = contained.containers()[f"kato-{contained.id('bystander')}"]
    assert (after["Id"], after["Created"]) == (untouched["Id"], untouched["Created"])
    assert contained.home.kato("stop", "--all").code == 0
    assert (contained.entries(), contained.containers()) == ({}, {})


def test_twenty_random_kills_are_mended_by_one_repair(contained: Contained) -> None:
    kill_at_random(contained, 20, seed=3)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(4))
def test_fifty_random_kills_four_times_are_mended_by_one_repair(
    contained: Contained, seed: int
) -> None:
    kill_at_random(contained, 50, seed=seed)


def test_13_a_removed_registry_is_rebuilt_from_labels(contained: Contained) -> None:
    assert contained.start("a", "--name", "Main", "--recall-threshold", "0.3").code == 0
    before = contained.entries()
    contained.home.registry.unlink()
    (contained.home.path / "instances.json.bak").unlink()

    listed = contained.home.kato("list", "--format", "json")

    (shown,) = listed.json["instances"]
    assert (shown["id"], shown["name"], shown["status"]) == (contained.id("a"), "Main", "running")
    assert shown["settings"] == {"recall_threshold": 0.3}
    assert not contained.home.registry.exists()
    assert contained.home.kato("doctor", "--fix").code == 0
    after = contained.entries()[contained.id("a")]
    kept = ("name", "container", "api_port", "status", "handle", "spec")
    assert {key: after[key] for key in kept} == {
        key: before[contained.id("a")][key] for key in kept
    }


def test_7_a_silent_engine_has_its_own_exit_code_and_changes_nothing(contained: Contained) -> None:
    assert contained.start("a").code == 0
    before = contained.home.registry.read_bytes()
    silent = {"DOCKER_HOST": f"unix://{contained.home.path}/nobody.sock"}

    codes = {
        words[0]: contained.home.kato(*words, env=silent).code
        for words in (("status",), ("stop", contained.id("a")), ("restart", contained.id("a")))
    }

    assert codes == {"status": 5, "stop": 5, "restart": 5}
    after = json.loads(contained.home.registry.read_bytes())
    assert after["instances"].keys() == json.loads(before)["instances"].keys()
    assert contained.is_consistent()


def test_25_another_engine_does_not_take_the_instance_for_gone(contained: Contained) -> None:
    assert contained.start("a").code == 0
    other = {"DOCKER_HOST": endpoint("podman")}

    status = contained.home.kato("status", "--format", "json", env=other)

    assert (status.code, status.json["instances"][0]["status"]) == (5, "unreachable")
    assert contained.home.kato("doctor", "--fix", env=other).code != 0
    assert contained.is_consistent()


def test_9_what_was_removed_behind_our_back_is_seen_stopped_and_started_again(
    contained: Contained,
) -> None:
    for name in ("a", "b", "c"):
        assert contained.start(name).code == 0
    contained.api.kill(f"kato-{contained.id('a')}")
    contained.api.remove_container(f"kato-{contained.id('b')}", force=True)

    status = contained.home.kato("status", "--format", "json")

    words = {one["id"]: one["status"] for one in status.json["instances"]}
    assert words == {
        contained.id("a"): "exited",
        contained.id("b"): "missing",
        contained.id("c"): "running",
    }
    assert contained.home.kato("stop", contained.id("b")).code == 0
    assert contained.home.kato("start", "--id", contained.id("a"), "--no-gateway").code == 0
    assert contained.is_consistent()


def test_22_after_a_reboot_one_command_brings_instances_and_gateway_back(
    contained: Contained,
) -> None:
    home = contained.home
    assert contained.start("a").code == 0
    assert home.start("--id", contained.id("b"), "--runtime", "local").code == 0
    assert home.kato("gateway", "up").code == 0
    for one in contained.containers().values():
        contained.api.kill(one["Id"])
    for pid in home.processes():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not home.processes(), "everything is down")

    mended = home.kato("doctor", "--fix")

    assert mended.code == 0, mended.out + mended.err
    assert home.kato("status").code == 0
    assert home.kato("gateway", "status").code == 0
    for name in ("a", "b"):
        path = f"/{contained.id(name)}/health"
        assert get(home.gateway_port, path)["instance_id"] == contained.id(name)
    assert home.kato("gateway", "down").code == 0


def test_an_unrecorded_instance_is_left_alone_while_young_then_adopted_or_pruned(
    contained: Contained,
) -> None:
    assert contained.start("a").code == 0
    manager = contained.home.manager()
    with manager.registry.edit() as instances:
        recorded = instances.pop(contained.id("a"))
    assert [one.trouble for one in doctor.diagnose(manager)] == ["young"]
    assert contained.home.kato("prune", "-y").code == 0
    assert len(contained.containers()) == 1
    later = touched(recorded).updated_at + timedelta(minutes=5)
    assert [one.trouble for one in doctor.diagnose(manager, now=later)] == ["orphan"]

    assert contained.home.kato("adopt", contained.id("a")).code == 0

    assert contained.is_consistent()
    with manager.registry.edit() as instances:
        del instances[contained.id("a")]
    (orphan,) = doctor.diagnose(manager, now=later)
    doctor.remove(manager, orphan)
    assert contained.containers() == {}


def test_the_status_of_fifty_instances_is_one_list_call(contained: Contained) -> None:
    assert contained.start("real").code == 0
    manager = contained.home.manager()
    with manager.registry.edit() as instances:
        real = instances[contained.id("real")]
        for number in range(50):
            spec = touched(real).spec
            gone = {**real.handle, "container": f"{number:064x}"}
            other = f"gone{number}-{contained.suffix}"
            instances[other] = touched(
                real, spec=type(spec)(id=other, launch=spec.launch), handle=gone
            )
    calls: list[str] = []
    manager.runtimes.engine.check()
    manager.runtimes.engine.api.hooks["response"].append(
        lambda answer, *_, **__: calls.append(answer.request.path_url)
    )

    seen = manager.status()

    assert [one.word for one in seen] == ["running", *["missing"] * 50]
    assert len([path for path in calls if "/containers/" in path]) == 1


def test_many_stop_at_once_by_one_command(contained: Contained) -> None:
    """The SDK's modules are first imported by several threads then."""
    instances = [{"id": contained.id(f"n{number}"), "template": "contained"} for number in range(6)]
    file = contained.home.path / "six.yaml"
    file.write_text(json.dumps({"instances": instances}))
    applied = contained.home.kato("apply", "-f", str(file), "--no-gateway", "--parallel", "6", "-y")
    assert applied.code == 0, applied.err

    stopped = contained.home.kato("stop", "--all")

    assert stopped.code == 0, stopped.err
    assert (contained.entries(), contained.containers()) == ({}, {})


def test_shared_services_are_kept_unless_told_otherwise(contained: Contained) -> None:
    name = f"redis-kb-{contained.suffix}-1"
    (contained.home.path / "services.yaml").write_text(
        f"services:\n  redis:\n    image: {facts()['KATO_TEST_REDIS_IMAGE']}\n"
        f"    container_name: {name}\n    healthcheck: {{test: [CMD, redis-cli, ping]}}\n"
    )
    template = contained.home.path / "templates" / "contained.yaml"
    template.write_text(template.read_text() + "services: [redis]\n")
    kato = contained.home.kato

    assert contained.start("a").code == 0
    (service,) = kato("services", "--format", "json").json["services"]
    assert (service["name"], service["status"], service["container"]) == ("redis", "running", name)
    kept = kato("stop", "--all")
    assert (kept.code, "redis" in kept.err) == (0, True)
    assert kato("services", "--format", "json").json["services"][0]["status"] == "running"
    assert contained.start("a").code == 0
    assert kato("stop", "--all", "--with-mongo").code == 0
    assert kato("services", "--format", "json").json["services"][0]["status"] == "missing"
