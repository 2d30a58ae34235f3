"""The network that containers share, where several commands make it at once."""

import secrets
import subprocess
import sys
from collections.abc import Iterator

import pytest

from engines import endpoint, engine
from kato_manager.errors import Conflict
from kato_manager.runtimes import network

MAKER = """
import sys
from kato_manager.runtimes import network
from kato_manager.runtimes.engine import Engine
engine = Engine(sys.argv[1])
engine.check()
print("ready", flush=True)
sys.stdin.readline()
network.ensure(engine, sys.argv[2])
"""


@pytest.fixture(
    params=[
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("podman", marks=pytest.mark.podman),
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def name(kind: str) -> Iterator[str]:
    made = f"kato-test-{secrets.token_hex(4)}"
    yield made
    for network_id in ids(kind, made):
        engine(kind).api.remove_network(network_id)


def ids(kind: str, name: str) -> list[str]:
    return [one["Id"] for one in engine(kind).api.networks(names=[name])]


def test_commands_that_make_it_at_once_make_one(kind: str, name: str) -> None:
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", MAKER, endpoint(kind), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    assert [maker.stdout.readline() for maker in makers] == ["ready\n"] * 3

    for maker in makers:
        maker.stdin.write("\n")
        maker.stdin.flush()

    for maker in makers:
        maker.communicate(timeout=60)
    assert [maker.returncode for maker in makers] == [0, 0, 0]
    assert len(ids(kind, name)) == 1


@pytest.mark.docker
def test_two_that_stay_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = [{"Name": "kato-network", "Id": "1"}, {"Name": "kato-network", "Id": "2"}]
    monkeypatch.setattr(network, "SETTLING_S", 0.1)
    monkeypatch.setattr(engine("docker").api, "networks", lambda **_: twice)

    with pytest.raises(Conflict, match="there are 2 networks called kato-network on") as raised:
        network.ensure(engine("docker"), "kato-network")

    assert raised.value.hint == "docker network ls -f name=kato-network, then docker network rm ID"
