"""Many processes on one registry: nothing is lost, nothing is torn."""

import multiprocessing
import os
from collections import Counter
from pathlib import Path

import pytest

from kato_manager.model import Instance, InstanceSpec, Status, now
from kato_manager.registry import Registry

SPAWN = multiprocessing.get_context("fork")


def recorded(instance_id: str, port: int) -> Instance:
    return Instance(
        spec=InstanceSpec(id=instance_id),
        port=port,
        status=Status.RUNNING,
        runtime="local",
        created_at=now(),
        updated_at=now(),
    )


def write(home: Path, writer: int, edits: int) -> None:
    """Each edit takes the lowest free port, as a reservation does."""
    registry = Registry(home, lock_timeout_s=100)
    for number in range(edits):
        with registry.edit() as instances:
            taken = instances.taken_ports
            port = next(p for p in range(8001, 20_000) if p not in taken)
            instances[f"w{writer}-{number}"] = recorded(f"w{writer}-{number}", port)


def read(home: Path, over: object, found: object) -> None:
    """Spin: every look must be whole, and never show less than the one before."""
    registry, most, looks = Registry(home), 0, 0
    while not over.is_set():
        instances = registry.read()
        ports = [instance.port for instance in instances.values()]
        if instances.notes or len(set(ports)) != len(ports) or len(ports) < most:
            found.put(f"torn after {looks}: {instances.notes} {Counter(ports).most_common(1)}")
            return
        most, looks = len(ports), looks + 1
    found.put(looks)


def many_writers(home: Path, writers: int, edits: int) -> None:
    over, found = SPAWN.Event(), SPAWN.Queue()
    reader = SPAWN.Process(target=read, args=(home, over, found))
    reader.start()
    processes = [
        SPAWN.Process(target=write, args=(home, writer, edits)) for writer in range(writers)
    ]
    for one in processes:
        one.start()
    for one in processes:
        one.join()
    over.set()
    looks = found.get(timeout=30)
    reader.join()

    assert [one.exitcode for one in processes] == [0] * writers
    assert isinstance(looks, int), looks
    assert looks > 0
    instances = Registry(home).read()
    assert set(instances) == {f"w{w}-{n}" for w in range(writers) for n in range(edits)}
    ports = sorted(instance.port for instance in instances.values())
    assert ports == list(range(8001, 8001 + writers * edits))
    assert sorted(path.name for path in home.iterdir()) == [
        "instances.json",
        "instances.json.bak",
        "instances.json.lock",
    ]


def test_eight_writers_beside_a_reader_lose_and_tear_nothing(tmp_path: Path) -> None:
    many_writers(tmp_path, writers=8, edits=30)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_eight_writers_of_250_edits_beside_a_reader_lose_and_tear_nothing(tmp_path: Path) -> None:
    many_writers(tmp_path, writers=8, edits=250)


def test_writers_that_are_killed_in_the_middle_of_an_edit_lose_only_their_own(
    tmp_path: Path,
) -> None:
    """Each ends with its lock held and its edit begun; the next ones go on at once."""
    registry = Registry(tmp_path, lock_timeout_s=30)
    for number in range(10):
        pid = os.fork()
        if not pid:
            with registry.edit() as instances:
                instances[f"kept-{number}"] = recorded(f"kept-{number}", 8001 + number)
            with registry.edit() as instances:
                instances["lost"] = recorded("lost", 9000)
                os._exit(1)
        os.waitpid(pid, 0)

    assert list(registry.read()) == [f"kept-{number}" for number in range(10)]
