"""Locks whose files go with them: many processes on one path still exclude each other."""

import multiprocessing
import os
import signal
from pathlib import Path

from kato_manager import lock

FORK = multiprocessing.get_context("fork")


def hold(path: Path, counter: Path, times: int) -> None:
    """Count up in a way that loses counts wherever two hold the lock at once."""
    for _ in range(times):
        with lock.held(path, what="it", timeout_s=60, passing=True):
            number = int(counter.read_text())
            counter.write_text(str(number + 1))


def hold_until_killed(path: Path, is_held: object) -> None:
    with lock.held(path, what="it", timeout_s=60, passing=True):
        is_held.set()
        signal.pause()


def test_processes_exclude_each_other_and_leave_no_file(tmp_path: Path) -> None:
    path, counter = tmp_path / "a.lock", tmp_path / "counter"
    counter.write_text("0")
    processes = [FORK.Process(target=hold, args=(path, counter, 100)) for _ in range(8)]
    for one in processes:
        one.start()
    for one in processes:
        one.join()

    assert int(counter.read_text()) == 800
    assert list(tmp_path.iterdir()) == [counter]


def test_what_a_killed_holder_left_is_taken_over_and_goes(tmp_path: Path) -> None:
    path, is_held = tmp_path / "a.lock", FORK.Event()
    holder = FORK.Process(target=hold_until_killed, args=(path, is_held))
    holder.start()
    is_held.wait()
    assert not lock.is_free(path)

    os.kill(holder.pid, signal.SIGKILL)
    holder.join()

    assert path.exists()
    assert lock.is_free(path)
    assert list(tmp_path.iterdir()) == []
