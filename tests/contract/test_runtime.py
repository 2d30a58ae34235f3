"""The contract of `runtimes.base.Runtime`, kept alike by every runtime."""

import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest

from engines import listen
from homes import get, is_served, wait_until
from kato_manager.errors import KatoError, NotReady, PortTaken, RuntimeUnavailable
from kato_manager.model import Handle, Launch
from kato_manager.runtimes.base import Exec, Stats

TOUCH = ("sh", "-c", "echo kept > kept")
LOOK = ("test", "-e", "kept")


def is_free(port: int) -> bool:
    """Whether an engine or a process could bind it at this moment."""
    try:
        listen(port).close()
    except OSError:
        return False
    return True


def test_what_is_started_runs_and_answers_on_its_port(rig, served):
    instance, handle = served

    assert rig.runtime.inspect(handle).state == "running"
    answer = get(instance.port, "/health")
    assert answer["instance_id"] == instance.id
    assert not rig.echoes or answer["settings"]["ECHO_X"] == "ü x"


def test_a_handle_is_json_and_means_the_same_to_another_process(rig, served):
    kept = json.loads(json.dumps(served[1]))

    assert kept == served[1]
    assert rig.another().inspect(kept).state == "running"


@pytest.mark.needs("find")
def test_find_gives_back_what_was_started(rig, served):
    instance, handle = served

    found = rig.found(instance)

    assert found.instance.spec == instance.spec
    assert found.instance.port == instance.port
    assert found.operation_id == instance.operation.id
    assert found.observed.state == "running"
    assert found.observed.handle == handle


@pytest.mark.needs("recover")
def test_recover_finds_what_a_killed_start_had_launched(rig, served):
    instance, handle = served

    found = rig.another().recover(instance)

    assert found.observed.handle == handle
    assert found.observed.state == "running"
    assert is_served(instance.port)


def test_recover_finds_nothing_where_nothing_was_launched(rig):
    assert rig.runtime.recover(rig.instance()) is None


@pytest.mark.needs("echo")
def test_exec_passes_streams_and_exit_code(rig, served, capfd):
    assert isinstance(rig.runtime, Exec)

    command = ("sh", "-c", "echo out; echo err >&2; exit 7")
    assert rig.runtime.exec(served[1], command, tty=False) == 7

    assert capfd.readouterr() == ("out\n", "err\n")


@pytest.mark.needs("echo")
def test_stats_say_what_it_uses(rig, served):
    assert isinstance(rig.runtime, Stats)

    used = rig.runtime.stats(served[1])

    assert 1_000_000 < used.memory_bytes < 200_000_000
    assert 0 <= used.cpu_percent < 400
    assert used.pids >= 1


@pytest.mark.needs("engine")
def test_an_engine_that_is_silent_is_never_taken_for_absence(rig, served):
    instance, handle = served

    for ask in (
        lambda: rig.silent.inspect(handle),
        lambda: rig.silent.stop(handle, grace_s=1),
        lambda: rig.silent.recover(instance),
        lambda: rig.silent.start(rig.instance("b"), listen()),
    ):
        with pytest.raises(RuntimeUnavailable) as raised:
            ask()
        assert raised.value.hint

    assert rig.runtime.inspect(handle).state == "running"


def test_stop_ends_it_and_frees_the_port_and_may_be_repeated(rig):
    instance = rig.instance()
    handle = rig.serve(instance)

    rig.another().stop(handle, grace_s=3)

    assert rig.runtime.inspect(handle).state != "running"
    assert is_free(instance.port)
    rig.runtime.stop(handle, grace_s=3)


@pytest.mark.needs("echo")
def test_what_ignores_the_request_to_end_is_ended_by_force(rig):
    instance = rig.instance(echo="stubborn")
    handle = rig.serve(instance)

    rig.runtime.stop(handle, grace_s=0.2)

    assert rig.runtime.inspect(handle).state != "running"
    assert is_free(instance.port)


@pytest.mark.needs("echo")
def test_what_died_has_exited_with_its_code_and_its_last_words(rig):
    handle = rig.start(rig.instance(echo="die"))

    observed = wait_until(lambda: (seen := rig.runtime.inspect(handle)).state == "exited" and seen)

    assert observed.exit_code == 3
    logged = list(rig.runtime.logs(handle, tail=1, follow=False))
    assert logged == ["cannot go on: no reason at all"]


@pytest.mark.needs("echo")
def test_ids_beyond_the_plain_ones_run_side_by_side(rig):
    instances = [rig.instance(name) for name in ("a.b", "a b", "ä", "A_b")]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(rig.serve, instances))

    answers = [get(one.port)["instance_id"] for one in instances]
    assert answers == [one.id for one in instances]


def test_many_threads_start_and_stop_at_once(rig):
    instances = [rig.instance() for _ in range(6)]

    with ThreadPoolExecutor(6) as pool:
        handles = list(pool.map(rig.serve, instances))
        list(pool.map(lambda handle: rig.runtime.stop(handle, grace_s=0), handles))

    assert [rig.runtime.inspect(one).state == "running" for one in handles] == [False] * 6
    assert all(is_free(one.port) for one in instances)


@pytest.mark.needs("find")
@pytest.mark.needs("own-bind")
def test_a_port_lost_at_the_last_moment_is_said_and_nothing_is_left(rig):
    instance = rig.instance()
    listener = listen(instance.port)
    kept = socket.socket(fileno=os.dup(listener.fileno()))  # holds the port when ours closes

    with kept, pytest.raises(PortTaken, match=str(instance.port)):
        rig.start(instance, listener)

    found = rig.found(instance)
    assert found is None or found.observed.state != "running"
    wait_until(lambda: is_free(instance.port))


@pytest.mark.needs("echo")
def test_an_impossible_command_is_refused_and_nothing_is_left(rig):
    nonsense = Launch(command=("/nonexistent/program",), image="kato-test/none")
    instance = rig.instance(launch=nonsense)

    with pytest.raises(KatoError, match=r"kato-test/none|/nonexistent/program"):
        rig.start(instance)

    found = rig.found(instance)
    assert found is None or found.observed.state != "running"
    assert is_free(instance.port)


@pytest.mark.parametrize(
    "moves",
    [pytest.param(False, marks=pytest.mark.needs("same-port")), True],
    ids=["same-port", "own-port"],
)
def test_a_replacement_serves_in_the_place_of_the_old_one(rig, moves):
    old = rig.instance(env={"ECHO_X": "old"})
    handle = rig.serve(old)
    port = 0 if moves else old.port
    new = rig.instance(env={"ECHO_X": "new"}, same_as=old, port=port)
    answered = []

    def ready(_started: Handle) -> None:
        rig.wait_until_ready(new)
        answered.extend(is_served(one.port) for one in (old, new))

    replaced = rig.replace(handle, new, moves=moves, ready=ready)

    assert answered == [True, True]
    assert rig.runtime.inspect(handle).state != "running"
    assert rig.runtime.inspect(replaced).state == "running"
    assert is_served(old.port) is not moves
    if rig.echoes:
        assert get(new.port)["settings"]["ECHO_X"] == "new"
        assert rig.found(new).observed.handle == replaced


@pytest.mark.parametrize(
    "moves",
    [pytest.param(False, marks=pytest.mark.needs("same-port")), True],
    ids=["same-port", "own-port"],
)
def test_after_a_replacement_that_is_not_ready_the_old_one_serves_again(rig, moves):
    old = rig.instance(env={"ECHO_X": "old"})
    handle = rig.serve(old)
    port = 0 if moves else old.port
    new = rig.instance(env={"ECHO_X": "new"}, same_as=old, port=port)

    def ready(_started: Handle) -> None:
        raise NotReady("never")

    with pytest.raises(NotReady, match="never"):
        rig.replace(handle, new, moves=moves, ready=ready)

    rig.wait_until_ready(old)
    assert not moves or not is_served(new.port)
    if rig.echoes:
        assert get(old.port)["settings"]["ECHO_X"] == "old"
        found = rig.found(old)
        assert (found.instance.port, found.observed.state) == (old.port, "running")
        rig.started.append(found.observed.handle)


@pytest.mark.needs("echo")
def test_logs_are_whole_lines_oldest_first(rig):
    handle = rig.start(rig.instance(echo="chatty"))

    followed = list(islice(rig.runtime.logs(handle, tail=None, follow=True), 30))

    assert followed[0].startswith("echo a")
    assert followed[1:] == [f"line {number}" for number in range(29)]
    tail = list(rig.runtime.logs(handle, tail=5, follow=False))
    first = int(tail[0].removeprefix("line "))
    assert tail == [f"line {number}" for number in range(first, first + 5)]


@pytest.mark.needs("echo")
def test_following_ends_with_the_instance(rig):
    handle = rig.serve(rig.instance())
    lines = rig.runtime.logs(handle, tail=None, follow=True)
    assert next(lines).startswith("echo a")

    rig.another().stop(handle, grace_s=0)

    assert list(lines) == []


@pytest.mark.needs("echo")
def test_data_outlives_a_stop_and_ends_with_purge(rig):
    instance = rig.instance()
    handle = rig.serve(instance)
    assert rig.runtime.exec(handle, TOUCH, tty=False) == 0
    rig.runtime.stop(handle, grace_s=3)

    again = rig.serve(instance)
    assert rig.runtime.exec(again, LOOK, tty=False) == 0
    rig.runtime.stop(again, grace_s=3)
    rig.runtime.purge(instance)
    rig.runtime.purge(instance)

    assert rig.runtime.exec(rig.serve(instance), LOOK, tty=False) == 1
