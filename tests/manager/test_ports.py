"""Which port an instance gets; the listener that is returned is the reservation."""

import os
import socket
from pathlib import Path

import psutil
import pytest

from homes import Home, free_ports, stranger
from kato_manager import ports
from kato_manager.errors import PortTaken
from kato_manager.ports import Wish


@pytest.fixture
def block():
    with free_ports() as found:
        yield found


def chosen(wish: Wish, **others: object) -> int:
    with ports.choose(wish, **{"taken": (), **others}) as listener:
        return listener.getsockname()[1]


def test_the_first_free_port_of_the_range_is_taken(block: range) -> None:
    assert chosen(Wish(ports=block)) == block[0]


def test_a_recorded_port_is_skipped_even_if_nobody_listens(block: range) -> None:
    assert chosen(Wish(ports=block), taken={block[0], block[1]}) == block[2]


def test_a_port_that_a_stranger_holds_is_skipped(block: range) -> None:
    with stranger(block[0]):
        assert chosen(Wish(ports=block)) == block[1]


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_a_stranger_on_all_addresses_is_met_too(block: range, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    both = family == socket.AF_INET6
    with socket.create_server((address, block[0]), family=family, dualstack_ipv6=both):
        assert chosen(Wish(ports=block)) == block[1]


def test_a_reservation_holds_against_another_choice_and_a_stranger(block: range) -> None:
    with ports.choose(Wish(ports=block), taken=()):
        assert chosen(Wish(ports=block)) == block[1]
        with pytest.raises(OSError, match="Address already in use"):
            socket.create_server(("127.0.0.1", block[0]))


def test_the_sticky_port_comes_before_the_range(block: range) -> None:
    assert chosen(Wish(ports=block, sticky=block[7])) == block[7]


def test_an_explicit_port_comes_before_the_sticky_one(block: range) -> None:
    assert chosen(Wish(ports=block, explicit=block[9], sticky=block[7])) == block[9]


def test_a_busy_explicit_port_moves_upward_from_itself_also_outside_the_range(
    block: range,
) -> None:
    with stranger(block[5]), stranger(block[6]):
        assert chosen(Wish(ports=block[:3], explicit=block[5])) == block[7]


def test_a_busy_sticky_port_moves_into_the_range(block: range) -> None:
    with stranger(block[5]):
        assert chosen(Wish(ports=block[:3], sticky=block[5])) == block[0]


def test_sticky_ports_of_others_are_used_only_when_nothing_else_is_left(block: range) -> None:
    assert chosen(Wish(ports=block[:3]), avoided={block[0], block[1]}) == block[2]
    assert chosen(Wish(ports=block[:2]), avoided={block[0], block[1]}) == block[0]


def test_a_strict_port_is_refused_naming_its_holder(block: range) -> None:
    with stranger(block[0]), pytest.raises(PortTaken) as caught:
        chosen(Wish(ports=block, explicit=block[0], strict=True))

    name = psutil.Process().name()
    assert caught.value.message == f"port {block[0]} is used by {name} (pid {os.getpid()})"


def test_a_full_range_is_an_error_that_says_which(block: range) -> None:
    with stranger(block[0]), stranger(block[1]), pytest.raises(PortTaken) as caught:
        chosen(Wish(ports=block[:2]))

    assert caught.value.message == f"no port is free in {block[0]}-{block[1]}"


def test_ephemeral_ports_are_never_chosen_from_the_range() -> None:
    start = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])

    with pytest.raises(PortTaken):
        chosen(Wish(ports=range(start, start + 5)))


def test_reserved_ports_of_the_machine_are_skipped(
    block: range, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    (tmp_path / "ip_local_reserved_ports").write_text(f"{block[0]}-{block[2]},{block[4]}\n")
    monkeypatch.setattr(ports, "_KERNEL", tmp_path)

    assert chosen(Wish(ports=block)) == block[3]
    assert chosen(Wish(ports=block[4:])) == block[5]


def test_a_port_with_connections_in_time_wait_is_free(block: range) -> None:
    with socket.create_server(("127.0.0.1", block[0])) as server:
        client = socket.create_connection(("127.0.0.1", block[0]))
        accepted, _ = server.accept()
        accepted.close()
        client.close()

    assert chosen(Wish(ports=block)) == block[0]


def test_no_instance_gets_the_gateway_s_port(home: Home) -> None:
    notes: list[str] = []
    manager = home.manager(notes)

    instance = manager.start(home.spec("a", port=home.gateway_port))

    assert instance.port == home.gateway_port + 1
    assert (
        notes[-1]
        == f"port {home.gateway_port} is used by the gateway; using {home.gateway_port + 1}"
    )


def test_an_instance_that_returns_gets_its_port_back(home: Home) -> None:
    manager = home.manager()
    manager.start(home.spec("a"))
    second = manager.start(home.spec("b"))
    manager.stop("a")
    manager.stop("b")

    assert manager.start(home.spec("b")).port == second.port


def test_a_moved_port_names_the_instance_that_holds_it(home: Home) -> None:
    notes: list[str] = []
    manager = home.manager(notes)
    first = manager.start(home.spec("a"))

    second = manager.start(home.spec("b", port=first.port))

    assert second.port == first.port + 1
    assert notes[-1] == f"port {first.port} is used by instance 'a'; using {second.port}"
