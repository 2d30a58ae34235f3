"""The verbs, on runtimes that behave or fail in one way each."""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from fakes import DiesAtStart, FakeRuntime, NeverReady, PortThief, Slow, Unreachable
from homes import Home, is_served
from kato_manager import readiness
from kato_manager.errors import (
    ConfigError,
    Conflict,
    InstanceExists,
    InstanceNotFound,
    NotReady,
    PortTaken,
    RegistryLocked,
    RuntimeUnavailable,
    StartFailed,
)
from kato_manager.launcher import PORT_ATTEMPTS
from kato_manager.manager import Manager
from kato_manager.model import Limits, Status
from kato_manager.reservation import begin


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def managed(home: Home, notes: list[str]) -> Iterator:
    """Makes a manager of the home whose local runtime is the given one."""
    with ExitStack() as opened:

        def made(runtime: FakeRuntime) -> Manager:
            opened.callback(runtime.close)
            manager = home.manager(notes)
            manager.runtimes.use(runtime)
            return manager

        yield made


def refused(home: Home, manager: Manager) -> bool:
    """A failed start left nothing: no entry, no port."""
    return dict(manager.registry.read()) == {} and home.listening() == []


def test_a_start_records_what_runs(home: Home, managed) -> None:
    manager = managed(FakeRuntime())

    instance = manager.start(home.spec("a"), origin="/multi.yaml")

    assert dict(manager.registry.read()) == {"a": instance}
    assert (instance.status, instance.port, instance.operation, instance.origin) == (
        Status.RUNNING,
        home.ports[0],
        None,
        "/multi.yaml",
    )
    assert instance.handle == {"kind": "fake", "number": 1}


def test_starting_what_runs_with_the_same_settings_is_success(home: Home, managed) -> None:
    runtime = FakeRuntime()
    manager = managed(runtime)
    first = manager.start(home.spec("a"))

    again = manager.start(home.spec("a"))

    assert replace(again, updated_at=first.updated_at) == first
    assert runtime.calls == [("start", "a")]


def test_starting_what_runs_with_other_settings_names_the_difference(home: Home, managed) -> None:
    runtime = FakeRuntime()
    manager = managed(runtime)
    first = manager.start(home.spec("a", settings={"recall_threshold": 0.1, "x": 1}))

    with pytest.raises(Conflict) as caught:
        manager.start(home.spec("a", settings={"recall_threshold": 0.3, "x": 1}))

    assert caught.value.message == (
        "instance 'a' runs with other settings: recall_threshold 0.1 -> 0.3"
    )
    assert caught.value.hint == "kato restart a with the same options changes them"
    assert dict(manager.registry.read()) == {"a": first}


@pytest.mark.parametrize(
    "changes",
    [{"limits": Limits(cpus=2)}, {"env": {"A": "1"}}, {"template": "other"}, {"port": 4000}],
    ids=lambda changes: next(iter(changes)),
)
def test_what_needs_a_restart_is_refused_while_it_runs(home: Home, managed, changes) -> None:
    manager = managed(FakeRuntime())
    manager.start(home.spec("a"))

    with pytest.raises(Conflict):
        manager.start(home.spec("a", **changes))


def test_what_needs_no_restart_is_recorded_while_it_runs(home: Home, managed) -> None:
    runtime = FakeRuntime()
    manager = managed(runtime)
    manager.start(home.spec("a"))

    instance = manager.start(home.spec("a", name="New", group="g", labels={"k": "v"}))

    assert (instance.spec.name, instance.spec.group, instance.spec.labels) == (
        "New",
        "g",
        {"k": "v"},
    )
    assert manager.registry.read()["a"] == instance
    assert runtime.calls == [("start", "a")]


def test_a_moved_instance_is_not_different_from_its_wish(home: Home, managed) -> None:
    manager = managed(FakeRuntime())
    manager.start(home.spec("a"))
    moved = manager.start(home.spec("b", port=home.ports[0]))

    again = manager.start(home.spec("b", port=home.ports[0]))

    assert again.port == moved.port == home.ports[1]


def test_a_fresh_start_refuses_what_exists(home: Home, managed) -> None:
    manager = managed(FakeRuntime())
    manager.start(home.spec("a"))

    with pytest.raises(InstanceExists):
        manager.start(home.spec("a"), fresh=True)


def test_an_instance_that_is_never_ready_is_undone(home: Home, managed) -> None:
    runtime = NeverReady()
    manager = managed(runtime)

    with pytest.raises(NotReady) as caught:
        manager.start(home.spec("a"), timeout_s=0.2)

    assert caught.value.message == (
        "instance 'a' was not ready after 0.2 s: GET /health answered 503"
        "\n  | first line\n  | last line"
    )
    assert runtime.running == []
    assert refused(home, manager)


def test_an_instance_that_dies_shows_its_last_lines_at_once(home: Home, managed) -> None:
    manager = managed(DiesAtStart())

    with pytest.raises(StartFailed) as caught:
        manager.start(home.spec("a"), timeout_s=600)

    assert caught.value.message == (
        "instance 'a' ended with exit code 3 (out of memory) before it was ready\n"
        "  | first line\n"
        "  | last line"
    )
    assert refused(home, manager)


def test_a_port_lost_at_the_bind_moves_to_the_next(home: Home, managed, notes) -> None:
    manager = managed(PortThief(2))

    instance = manager.start(home.spec("a"))

    assert instance.port == home.ports[2]
    assert dict(manager.registry.read()) == {"a": instance}
    first, second = (f"port {port} is already allocated" for port in home.ports[:2])
    assert notes == [
        f"{first}; using {home.ports[1]}",
        f"{second}; using {home.ports[2]}",
    ]


def test_moving_away_from_thieves_ends(home: Home, managed) -> None:
    runtime = PortThief(1000)
    manager = managed(runtime)

    with pytest.raises(PortTaken):
        manager.start(home.spec("a"))

    assert len(runtime.stolen) == PORT_ATTEMPTS
    assert dict(manager.registry.read()) == {}


def test_a_strict_port_lost_at_the_bind_is_refused(home: Home, managed) -> None:
    manager = managed(PortThief(1))

    with pytest.raises(PortTaken):
        manager.start(home.spec("a", port=home.ports[3], strict_port=True))

    assert dict(manager.registry.read()) == {}


def test_an_unreachable_engine_is_not_an_empty_one(home: Home, managed) -> None:
    recorded = managed(FakeRuntime()).start(home.spec("a"))
    manager = managed(Unreachable())

    for verb in (
        lambda: manager.start(home.spec("a")),
        lambda: manager.stop("a"),
        lambda: manager.restart("a"),
    ):
        with pytest.raises(RuntimeUnavailable):
            verb()

    found = manager.registry.read()["a"]
    assert (found.handle, found.port) == (recorded.handle, recorded.port)


def test_stop_removes_the_entry_and_frees_the_port(home: Home, managed) -> None:
    manager = managed(FakeRuntime())
    instance = manager.start(home.spec("a"))

    assert manager.stop("a") == instance
    assert dict(manager.registry.read()) == {}
    assert not is_served(instance.port)
    assert manager.registry.read().ports == {"a": instance.port}


def test_stop_of_an_unknown_id_offers_the_closest(home: Home, managed) -> None:
    manager = managed(FakeRuntime())
    manager.start(home.spec("sentiment"))

    with pytest.raises(InstanceNotFound) as caught:
        manager.stop("sentimant")

    assert str(caught.value) == "there is no instance 'sentimant'"
    assert caught.value.hint == "did you mean 'sentiment'?"


def test_stop_keeps_the_entry_when_asked_to(home: Home, managed) -> None:
    manager = managed(FakeRuntime())
    instance = manager.start(home.spec("a"))

    manager.stop("a", keep="was idle")

    kept = manager.registry.read()["a"]
    assert (kept.status, kept.reason, kept.port, kept.handle) == (
        Status.STOPPED,
        "was idle",
        instance.port,
        None,
    )


def test_stop_purges_only_when_asked_to(home: Home, managed) -> None:
    runtime = FakeRuntime()
    manager = managed(runtime)
    manager.start(home.spec("a"))
    manager.stop("a")
    manager.start(home.spec("a"))
    manager.stop("a", purge=True)

    assert runtime.calls == [
        ("start", "a"),
        ("stop", "a"),
        ("start", "a"),
        ("stop", "a"),
        ("purge", "a"),
    ]


def test_restart_keeps_what_is_recorded(home: Home, managed) -> None:
    runtime = FakeRuntime()
    manager = managed(runtime)
    before = manager.start(home.spec("a", settings={"recall_threshold": 0.3}), origin="/m.yaml")

    after = manager.restart("a")

    assert replace(after, updated_at=before.updated_at, handle=before.handle) == before
    assert runtime.calls == [("start", "a"), ("stop", "a"), ("start", "a")]


def test_restart_changes_what_is_given(home: Home, managed) -> None:
    manager = managed(FakeRuntime())
    before = manager.start(home.spec("a"))

    after = manager.restart("a", spec=home.spec("a", settings={"recall_threshold": 0.3}))

    assert after.spec.settings == {"recall_threshold": 0.3}
    assert after.port == before.port


def test_a_restart_that_fails_leaves_the_entry_the_reason_and_what_finds_the_log(
    home: Home, managed
) -> None:
    managed(FakeRuntime()).start(home.spec("a"))
    manager = managed(NeverReady())

    with pytest.raises(NotReady) as caught:
        manager.restart("a", timeout_s=0.1)

    kept = manager.registry.read()["a"]
    assert (kept.status, kept.reason, kept.handle, kept.operation) == (
        Status.FAILED,
        str(caught.value),
        {"kind": "fake", "number": 1},
        None,
    )
    assert kept.port == home.ports[0]


def test_replace_changes_what_runs_on_another_port(home: Home, managed) -> None:
    runtime = FakeRuntime()
    manager = managed(runtime)
    before = manager.start(home.spec("a"))

    after = manager.replace("a", home.spec("a", settings={"recall_threshold": 0.3}))

    assert (after.port, after.spec.settings) == (home.ports[1], {"recall_threshold": 0.3})
    assert manager.registry.read()["a"] == after
    assert runtime.calls == [("start", "a"), ("start", "a"), ("stop", "a")]
    assert not is_served(before.port)


def test_a_replacement_that_fails_leaves_the_old_one_serving(home: Home, managed) -> None:
    runtime = FakeRuntime()
    manager = managed(runtime)
    before = manager.start(home.spec("a"))
    runtime.health = 503

    with pytest.raises(NotReady):
        manager.replace("a", home.spec("a", settings={"x": 1}), timeout_s=0.1)

    after = manager.registry.read()["a"]
    assert replace(after, updated_at=before.updated_at) == before
    assert home.listening() == [before.port]


@pytest.mark.parametrize("wrong", ["a/b", "", ".a", "-a", "a\nb", "API", "x" * 64, " a"])
def test_an_id_that_breaks_a_rule_is_refused(home: Home, managed, wrong: str) -> None:
    manager = managed(FakeRuntime())

    with pytest.raises(ConfigError):
        manager.start(home.spec(wrong))

    assert dict(manager.registry.read()) == {}


def test_ids_that_differ_only_in_case_are_refused(home: Home, managed) -> None:
    manager = managed(FakeRuntime())
    manager.start(home.spec("Version-A"))

    with pytest.raises(InstanceExists) as caught:
        manager.start(home.spec("version-a"))

    assert str(caught.value) == "id 'version-a' differs from instance 'Version-A' only in case"


def test_ids_and_groups_share_one_namespace(home: Home, managed) -> None:
    manager = managed(FakeRuntime())
    manager.start(home.spec("a", group="g"))

    clashing = [
        home.spec("g"),
        home.spec("G"),
        home.spec("b", group="A"),
        home.spec("c", group="c"),
        home.spec("a", group="a"),  # it runs: only its entry would change
    ]
    for spec in clashing:
        with pytest.raises(InstanceExists):
            manager.start(spec)
    with pytest.raises(InstanceExists):
        manager.replace("a", home.spec("a", group="a"))

    assert {one.id: one.spec.group for one in manager.registry.read().values()} == {"a": "g"}


def test_a_declared_instance_keeps_a_port_and_does_not_run(home: Home, managed) -> None:
    runtime = FakeRuntime()
    manager = managed(runtime)

    declared = manager.declare(home.spec("a", start="on-demand"))

    assert (declared.status, declared.port, declared.operation) == (
        Status.STOPPED,
        home.ports[0],
        None,
    )
    assert runtime.calls == []
    assert manager.start(home.spec("b")).port == home.ports[1]


def test_a_start_waits_for_another_start_of_the_same_id(home: Home, managed) -> None:
    slow = Slow()
    first, second = managed(slow), managed(slow)
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda one=one: found.append(one.start(home.spec("a"))))
        for one in (first, second)
    ]
    threads[0].start()
    assert slow.began.wait(10)
    threads[1].start()
    slow.go.set()
    for thread in threads:
        thread.join(20)

    assert [one.handle["number"] for one in found] == [1, 1]
    assert slow.calls == [("start", "a")]


def test_a_slow_start_does_not_hold_up_other_instances(home: Home, managed) -> None:
    slow = Slow()
    manager = managed(slow)
    thread = threading.Thread(target=lambda: manager.start(home.spec("a")))
    thread.start()
    assert slow.began.wait(10)

    other = managed(FakeRuntime()).start(home.spec("b"))

    assert (other.status, other.port) == (Status.RUNNING, home.ports[1])
    slow.go.set()
    thread.join(20)


def test_who_waits_too_long_for_an_instance_learns_who_holds_it(home: Home, managed) -> None:
    slow = Slow()
    manager = managed(slow)
    thread = threading.Thread(target=lambda: manager.start(home.spec("a")))
    thread.start()
    assert slow.began.wait(10)

    impatient = managed(FakeRuntime())
    impatient.settings = replace(impatient.settings, lock_timeout_s=0.05)
    with pytest.raises(RegistryLocked) as caught:
        impatient.stop("a")

    assert str(caught.value).startswith("instance 'a' is held by ")
    assert f"(pid {os.getpid()}) since 20" in str(caught.value)
    slow.go.set()
    thread.join(20)


def test_an_interrupted_start_is_undone(home: Home, managed, monkeypatch) -> None:
    def interrupted(_instance: object) -> str:
        raise KeyboardInterrupt

    runtime = FakeRuntime()
    manager = managed(runtime)
    monkeypatch.setattr(readiness, "probe", interrupted)

    with pytest.raises(KeyboardInterrupt):
        manager.start(home.spec("a"))

    assert runtime.running == []
    assert refused(home, manager)


def test_what_cannot_be_settled_is_told_and_keeps_nobody_from_the_others(
    home: Home, managed, notes
) -> None:
    class Immortal(FakeRuntime):
        def stop(self, handle, *, grace_s: float) -> None:  # noqa: ARG002 - the contract
            raise StartFailed("process 7 did not end, not even when killed")

    manager = managed(FakeRuntime())
    stuck = manager.start(home.spec("stuck"))
    manager.registry.record(replace(stuck, operation=begin("stop")))

    managed(Immortal()).settle_all()

    assert notes[-1] == (
        "instance 'stuck' is left as it is: process 7 did not end, not even when killed"
    )
    assert manager.start(home.spec("other")).status is Status.RUNNING
    assert manager.registry.read()["stuck"].handle == stuck.handle
