"""Turns at a gate: few at a time, in order, and none lost."""

import threading

import pytest

from kato_sessions.gate import Gate

DEADLINE_S = 30


def waiters(gate: Gate, count: int) -> None:
    """Wait until so many threads stand before the gate."""
    arrived = threading.Event()
    for _ in range(DEADLINE_S * 1000):
        if len(gate._waiting) == count:
            return
        arrived.wait(0.001)
    raise AssertionError(f"{len(gate._waiting)} wait, not {count}")


def test_who_came_first_goes_first() -> None:
    gate, passed = Gate(1), []

    def go(number: int) -> None:
        with gate.turn():
            passed.append(number)

    threads = [threading.Thread(target=go, args=(number,)) for number in range(20)]
    with gate.turn():
        for number, thread in enumerate(threads):
            thread.start()
            waiters(gate, number + 1)
    for thread in threads:
        thread.join(DEADLINE_S)

    assert passed == list(range(20))


def test_no_more_than_its_size_are_inside() -> None:
    gate, inside, most = Gate(3), [], []

    def go() -> None:
        for _ in range(50):
            with gate.turn():
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=go) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)

    assert max(most) <= 3
    assert gate._free == 3


def test_a_failure_inside_gives_the_place_back() -> None:
    gate = Gate(1)
    with pytest.raises(KeyError), gate.turn():
        raise KeyError

    with gate.turn():
        assert gate._free == 0
    assert gate._free == 1
