"""What the timers do with real instances; their rules alone are in `test_rules`."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest

from homes import get, is_served, wait_until
from kato_manager.gateway.counters import Counters
from kato_manager.gateway.drain import drain
from kato_manager.gateway.health import Unhealthy
from kato_manager.model import Status

FAST = """\
restart_first_pause_s: 0.05
restart_attempts: 3
health_interval_s: 0.1
"""


@pytest.fixture
def quick(opened, home):
    (home.path / "config.yaml").write_text(FAST)
    with opened() as client:
        yield client


@pytest.fixture
def front(home):
    """What a front counts."""
    (home.path / "gateway").mkdir(exist_ok=True)
    return Counters(home.path / "gateway" / "counters" / "0.counters")


def start(api, **values):
    answer = api.post("/api/instances", json={"template": "echo", **values})
    assert answer.status_code == 201, answer.text
    return answer.json()["instance"]


def recorded(api, instance_id="a"):
    return api.context.manager.registry.read().get(instance_id)


def is_running(api, instance_id="a"):
    instance = recorded(api, instance_id)
    return instance.status is Status.RUNNING and instance.operation is None


def kinds(api, instance_id="a"):
    events = api.context.keeper.events.kept_after(0)
    return [one.item.kind for one in events if one.item.instance == instance_id]


def kill(api, instance_id="a"):
    """End it as it is recorded; nothing where that one is dead already."""
    pid = recorded(api, instance_id).handle["pid"]
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return pid


def test_a_crashed_instance_comes_back_on_its_port(quick):
    port = start(quick, id="a", restart="on-failure")["api_port"]

    pid = kill(quick)

    wait_until(lambda: is_running(quick) and recorded(quick).handle["pid"] != pid)
    assert get(port)["instance_id"] == "a"
    wait_until(lambda: kinds(quick).count("running") == 2)
    assert kinds(quick).count("exited") == 1
    assert 'kato_gateway_instance_starts_total{instance="a"} 2.0' in quick.get("/metrics").text


def test_without_a_restart_policy_it_stays_dead(quick):
    port = start(quick, id="a")["api_port"]

    kill(quick)

    wait_until(lambda: "exited" in kinds(quick))
    assert recorded(quick).status is Status.RUNNING
    assert not is_served(port)


def test_a_crash_loop_ends_failed_with_the_last_lines(quick):
    port = start(quick, id="a", restart="always", env={"ECHO": ""})["api_port"]

    pids = set()
    while recorded(quick).status is not Status.FAILED:
        if is_running(quick):
            pids.add(kill(quick))

    reason = recorded(quick).reason
    assert len(pids) == 3
    assert reason.startswith("crashed 3 times in a row; the last time it ended")
    assert reason.endswith("\n  | echo a starts")
    assert not is_served(port)


def test_what_cannot_start_any_more_ends_failed_with_its_own_words(quick, home):
    start(quick, id="a", restart="always")
    with quick.context.manager.registry.edit() as instances:
        spec = replace(instances["a"].spec, env={"ECHO": "die"})
        instances["a"] = replace(instances["a"], spec=spec)

    kill(quick)

    wait_until(lambda: (recorded(quick).reason or "").startswith("crashed 3 times in a row; last:"))
    assert recorded(quick).status is Status.FAILED
    assert "cannot go on: no reason at all" in recorded(quick).reason


def test_a_stop_by_the_user_is_not_undone(quick, home):
    port = start(quick, id="a", restart="always")["api_port"]

    assert home.kato("stop", "a").code == 0

    wait_until(lambda: "removed" in kinds(quick))
    assert not is_served(port)
    assert home.is_clean()


def test_a_dead_on_demand_instance_waits_for_its_next_request(quick):
    start(quick, id="a", start="on-demand")
    port = quick.post("/internal/wake/a").json()["port"]

    kill(quick)

    wait_until(lambda: recorded(quick).status is Status.STOPPED)
    assert "starts on demand" in recorded(quick).reason
    assert quick.post("/internal/wake/a").status_code == 200
    assert is_served(port)


def test_twenty_first_requests_start_it_once(quick, home):
    start(quick, id="a", start="on-demand")

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: quick.post("/internal/wake/a"), range(20)))

    assert {one.status_code for one in answers} == {200}
    log = home.path / "instances" / "kato-a" / "processor.log"
    assert log.read_text().count("echo a starts") == 1


def test_waking_what_is_not_started_by_requests_is_a_conflict(quick):
    start(quick, id="a")
    quick.context.manager.stop("a", keep="by hand")

    answer = quick.post("/internal/wake/a")

    assert answer.status_code == 409
    assert answer.json()["detail"] == "instance 'a' is stopped and not started by requests"


def test_a_broken_one_is_not_started_for_every_request(quick, home):
    start(quick, id="a", start="on-demand", env={"ECHO": "die"})

    answers = [quick.post("/internal/wake/a") for _ in range(5)]

    assert {one.status_code for one in answers} == {502}
    log = home.path / "instances" / "kato-a" / "processor.log"
    assert log.read_text().count("echo a starts") == 1


def test_an_idle_instance_rests_and_is_woken_by_the_next_request(quick):
    start(quick, id="a", start="on-demand", idle_timeout_s=0.3)
    port = quick.post("/internal/wake/a").json()["port"]

    wait_until(lambda: recorded(quick).status is Status.STOPPED)

    assert recorded(quick).reason == "idle for 0.3 s; starts on demand"
    assert not is_served(port)
    assert quick.post("/internal/wake/a").json()["port"] == port


@pytest.mark.parametrize("counted", ["websocket", "in_flight"])
def test_work_keeps_an_instance_awake_until_it_is_over(quick, front, counted):
    start(quick, id="b", start="on-demand", idle_timeout_s=0.2)
    start(quick, id="a", start="on-demand", idle_timeout_s=0.2)
    getattr(front, counted)("a", 1)
    quick.post("/internal/wake/a")
    quick.post("/internal/wake/b")

    wait_until(lambda: recorded(quick, "b").status is Status.STOPPED)
    assert recorded(quick).status is Status.RUNNING
    getattr(front, counted)("a", -1)

    wait_until(lambda: recorded(quick).status is Status.STOPPED)


def test_max_running_makes_room_by_stopping_the_least_recently_used(opened, home, front):
    (home.path / "config.yaml").write_text("max_running: 2\n")
    with opened() as api:
        for one in "abc":
            start(api, id=one, start="on-demand")
        api.post("/internal/wake/a")
        api.post("/internal/wake/b")
        front.end("a", status=200, seconds=0.001, sent_bytes=1)

        assert api.post("/internal/wake/c").status_code == 200

        states = {one: recorded(api, one).status for one in "abc"}
        assert states == {"a": Status.RUNNING, "b": Status.STOPPED, "c": Status.RUNNING}
        assert recorded(api, "b").reason == "made room for 'c'; starts on demand"


def test_instances_that_work_are_not_stopped_to_make_room(opened, home, front, monkeypatch):
    monkeypatch.setattr("kato_manager.gateway.wake.ROOM_WAIT_S", 0.3)
    (home.path / "config.yaml").write_text("max_running: 1\n")
    with opened() as api:
        for one in "ab":
            start(api, id=one, start="on-demand")
        api.post("/internal/wake/a")
        front.websocket("a", 1)

        answer = api.post("/internal/wake/b")

        assert (answer.status_code, answer.json()["code"]) == (503, "no_room")
        assert answer.headers["retry-after"] == "5"
        assert recorded(api, "a").status is Status.RUNNING


def test_an_ill_instance_is_published_and_told(quick, home):
    start(quick, id="a")
    unhealthy = Unhealthy(home.path)
    assert unhealthy.ids == frozenset()
    pid = get(recorded(quick).port)["pid"]

    os.kill(pid, signal.SIGSTOP)

    wait_until(lambda: unhealthy.ids == {"a"})
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: unhealthy.ids == frozenset())
    wait_until(lambda: "healthy" in kinds(quick))
    assert kinds(quick)[-2:] == ["unhealthy", "healthy"]


def test_drain_returns_when_nothing_is_in_flight(quick, front, home):
    front.in_flight("a", 1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(drain, home.path, "a", 20.0)
        quick.get("/status")
        assert not waiting.done()

        front.in_flight("a", -1)

        assert waiting.result(10) is True


def test_drain_ends_with_its_grace(quick, front, home):
    front.websocket("a", 1)

    assert drain(home.path, "a", 0.1) is False


def test_drain_without_a_control_process_is_over_at_once(home):
    assert drain(home.path, "a", 60) is False
