"""Failures that only a real engine has, each under its number in the table of scenarios."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engines import Following, Relay, endpoint, listen, new_fleet, operation, restart_docker
from homes import HERE, get, is_served, stranger, wait_until
from kato_manager import readiness
from kato_manager.errors import Conflict, PortTaken, RuntimeUnavailable
from kato_manager.model import Handle, Instance, to_json
from kato_manager.runtimes.engine import Engine

pytestmark = pytest.mark.docker
KILLED = Path(__file__).with_name("killed.py")


def kill_at(step: str, verb: str, fleet, instance: Instance, old=None) -> None:
    """Let another process do `verb` and die by SIGKILL right after `step`."""
    words = [verb, step, fleet.home, fleet.registry_id, endpoint(fleet.kind)]
    done = subprocess.run(
        [sys.executable, str(KILLED), *words],
        input=json.dumps({"instance": to_json(instance), "old": old}),
        env={**os.environ, "PYTHONPATH": str(HERE)},
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL


def with_handle(instance: Instance, handle: Handle) -> Instance:
    return replace(instance, handle=handle)


def wait_until_ready(instance: Instance) -> None:
    wait_until(lambda: not readiness.probe(instance), f"{instance.id} serves")


def test_1_a_start_killed_before_its_container_ran_leaves_nothing_after_recovery(fleet):
    instance = fleet.instance()
    kill_at("create", "start", fleet, instance)
    assert fleet.containers() == [instance.spec.container]

    assert fleet.runtime.recover(instance) is None

    assert fleet.containers() == []
    fleet.serve(instance)


def test_1_a_start_killed_before_it_was_recorded_is_found_running(fleet):
    instance = fleet.instance()
    kill_at("start", "start", fleet, instance)
    wait_until_ready(instance)

    found = fleet.runtime.recover(instance)

    assert found.observed.state == "running"
    assert found.instance.spec == instance.spec
    fleet.runtime.stop(found.observed.handle, grace_s=0)
    assert fleet.containers() == []


@pytest.mark.parametrize(
    ("step", "serves"),
    [("create", "old"), ("stop", "old"), ("start", "new"), ("remove", "new")],
)
def test_1_a_replacement_killed_at_any_step_is_settled(fleet, step, serves):
    old = fleet.instance(env={"ECHO_X": "old"})
    handle = fleet.serve(old)
    new = fleet.instance(port=old.port, env={"ECHO_X": "new"}, operation=operation("replace"))
    kill_at(step, "replace", fleet, new, handle)
    recorded = with_handle(replace(old, operation=new.operation), handle)

    found = fleet.runtime.recover(recorded)

    wait_until_ready(old)
    assert get(old.port)["settings"]["ECHO_X"] == serves
    assert found.observed.state == "running"
    assert found.instance.spec == {"old": old, "new": new}[serves].spec
    assert fleet.containers() == [old.spec.container]
    assert fleet.runtime.recover(recorded) == found


def test_1_what_a_killed_replacement_left_makes_way_for_the_next(fleet):
    old = fleet.instance()
    handle = fleet.serve(old)
    new = fleet.instance(port=old.port, env={"ECHO_X": "new"})
    kill_at("create", "replace", fleet, new, handle)
    assert len(fleet.containers()) == 2

    fleet.runtime.replace(handle, new, None, lambda _handle: wait_until_ready(new))

    assert get(old.port)["settings"]["ECHO_X"] == "new"
    assert fleet.containers() == [old.spec.container]


def test_1_recovery_says_so_when_the_old_one_cannot_serve_again(fleet):
    old = fleet.instance()
    handle = fleet.serve(old)
    new = fleet.instance(port=old.port, operation=operation("replace"))
    kill_at("stop", "replace", fleet, new, handle)

    with stranger(old.port):
        found = fleet.runtime.recover(with_handle(new, handle))

    assert found.observed.handle == handle
    assert found.observed.state == "exited"
    assert fleet.containers() == [old.spec.container]


def test_2_a_port_held_by_a_process_or_by_a_container_leaves_no_created_container(fleet):
    first = fleet.instance("first")
    fleet.serve(first)
    port = fleet.instance("unused").port

    with stranger(port), pytest.raises(PortTaken, match=str(port)):
        fleet.runtime.start(fleet.instance("second", port=port), socket.socket())
    with pytest.raises(PortTaken, match=str(first.port)):
        fleet.runtime.start(fleet.instance("third", port=first.port), socket.socket())

    assert fleet.containers() == [first.spec.container]
    assert fleet.volumes() == [f"{first.spec.container}-data"]


def test_6_a_port_can_be_bound_at_once_after_stop_again_and_again(fleet):
    instance = fleet.instance(grace_s=0)

    for _ in range(3):
        handle = fleet.runtime.start(instance, listen(instance.port))
        fleet.runtime.stop(handle, grace_s=0)
        listen(instance.port).close()


def test_7_an_engine_that_does_not_answer_changes_nothing(fleet, tmp_path):
    relay = Relay(endpoint("docker"), tmp_path / "engine.sock")
    runtime = fleet.runtime_on(Engine(relay.endpoint))
    instance = fleet.instance()
    handle = runtime.start(instance, listen(instance.port))

    relay.cut()
    for ask in (
        runtime.check,
        runtime.find,
        lambda: runtime.inspect(handle),
        lambda: runtime.stop(handle, grace_s=0),
        lambda: runtime.recover(instance),
        lambda: runtime.start(fleet.instance("b"), listen()),
    ):
        with pytest.raises(RuntimeUnavailable, match=r"engine\.sock"):
            ask()
    relay.restore()

    assert runtime.inspect(handle).state == "running"
    assert fleet.containers() == [instance.spec.container]
    runtime.stop(handle, grace_s=0)
    relay.cut()


def test_8_the_event_stream_goes_on_after_a_lost_connection(fleet, tmp_path):
    relay = Relay(endpoint("docker"), tmp_path / "engine.sock")
    instance = fleet.instance()
    with Following(fleet.runtime_on(Engine(relay.endpoint)), 3) as following:
        handle = fleet.runtime.start(instance, listen(instance.port))
        heard = [following.next().kind]

        relay.cut()
        fleet.runtime.stop(handle, grace_s=0)  # nobody hears of it at this moment
        relay.restore()

        heard += sorted(following.next().kind for _ in range(2))
    assert heard == ["started", "died", "stopped"]
    relay.cut()


def test_8_after_a_restart_of_the_daemon_everything_is_as_the_engine_says(fleet):
    comes_back = fleet.instance("back", restart="unless-stopped")
    stays_away = fleet.instance("away")
    stopped_before = fleet.instance("stopped")
    handles = [fleet.serve(one) for one in (comes_back, stays_away)]
    runtime = fleet.runtime
    runtime.stop(fleet.serve(stopped_before), grace_s=0)

    restart_docker()

    wait_until(lambda: runtime.inspect(handles[0]).state == "running")
    wait_until_ready(comes_back)
    observed = runtime.inspect(handles[1])
    assert (observed.state, observed.handle) == ("exited", handles[1])
    states = {one.instance.id: one.observed.state for one in runtime.find()}
    assert states[comes_back.id] == "running"
    assert states[stays_away.id] == "exited"
    again = fleet.serve(stays_away)
    assert again["container"] != handles[1]["container"]
    fleet.serve(stopped_before)


def test_9_what_was_stopped_or_removed_behind_our_back_is_seen_and_may_be_stopped(fleet):
    stopped, removed = fleet.instance("stopped"), fleet.instance("removed")
    handles = [fleet.serve(one) for one in (stopped, removed)]

    fleet.engine.api.kill(handles[0]["container"])
    fleet.engine.api.remove_container(handles[1]["container"], force=True)
    fleet.engine.api.wait(handles[0]["container"])

    observed = [fleet.runtime.inspect(one) for one in handles]
    assert [(one.state, one.exit_code) for one in observed] == [("exited", 137), ("missing", None)]
    assert [one.observed.state for one in mine(fleet)] == ["exited"]
    fleet.serve(stopped)
    for handle in handles:
        fleet.runtime.stop(handle, grace_s=0)


def mine(fleet) -> list:
    return [one for one in fleet.runtime.find() if one.instance.id.endswith(fleet.suffix)]


def test_10_a_stranger_under_our_name_is_neither_adopted_nor_touched(fleet):
    instance = fleet.instance()
    handle = fleet.serve(instance)
    api = fleet.engine.api
    api.remove_container(handle["container"], force=True)
    body = {"Image": instance.spec.launch.image, "Entrypoint": ["sleep", "60"]}
    by_hand = fleet.engine.create(instance.spec.container, body)
    api.start(by_hand)

    assert fleet.runtime.inspect(handle).state == "missing"
    fleet.runtime.stop(handle, grace_s=0)
    with pytest.raises(Conflict, match=f"container {instance.spec.container} is not ours"):
        fleet.runtime.start(instance, listen(instance.port))

    assert api.inspect_container(by_hand)["State"]["Running"]
    assert mine(fleet) == []
    api.remove_container(by_hand, force=True)


def test_10_another_registry_neither_takes_nor_ends_what_is_ours(fleet):
    with new_fleet("docker") as other:
        other.suffix = fleet.suffix
        instance = fleet.instance()
        handle = fleet.serve(instance)

        for change in (
            lambda: other.runtime.stop(handle, grace_s=0),
            lambda: other.runtime.start(instance, listen()),
            lambda: other.runtime.purge(instance),
        ):
            with pytest.raises(Conflict, match="is not ours"):
                change()

        seen = {one.instance.id: one.registry_id for one in other.runtime.find()}
        assert seen[instance.id] == fleet.registry_id
        assert other.containers() == []
        assert is_served(instance.port)


@pytest.mark.podman
def test_25_an_instance_of_another_engine_is_unknown_not_gone(fleet):
    instance = fleet.instance()
    handle = fleet.serve(instance)
    with new_fleet("podman") as elsewhere:
        elsewhere.home, elsewhere.registry_id = fleet.home, fleet.registry_id
        runtime = elsewhere.runtime

        for ask in (
            lambda: runtime.inspect(handle),
            lambda: runtime.stop(handle, grace_s=0),
            lambda: runtime.recover(with_handle(instance, handle)),
            lambda: list(runtime.logs(handle, tail=1, follow=False)),
        ):
            with pytest.raises(RuntimeUnavailable, match="belongs to docker") as raised:
                ask()
            assert raised.value.hint.startswith(f"DOCKER_HOST={endpoint('docker')} ")

        assert instance.id not in {one.instance.id for one in runtime.find()}
    assert get(instance.port)["instance_id"] == instance.id


def test_25_the_same_engine_by_another_address_knows_the_same_handles(fleet, tmp_path):
    relay = Relay(endpoint("docker"), tmp_path / "engine.sock")
    instance = fleet.instance()
    handle = fleet.serve(instance)

    runtime = fleet.runtime_on(Engine(relay.endpoint))

    (found,) = [one for one in runtime.find() if one.instance.id == instance.id]
    assert found.observed.handle == found.instance.handle == handle
    assert runtime.start(instance, listen()) == handle
    runtime.stop(handle, grace_s=0)
    assert fleet.containers() == []
    relay.cut()
