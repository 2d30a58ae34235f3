"""Shared services, with a real redis."""

import getpass
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engines import Fleet, facts
from kato_manager import services
from kato_manager.config.services import Service, ServiceHealth, read
from kato_manager.errors import ConfigError, Conflict, NotReady, StartFailed
from kato_manager.services import Services, ServiceState

PING = ServiceHealth(command=("redis-cli", "ping"), timing_ns={"Interval": 10**9})


@pytest.fixture
def redis(fleet: Fleet) -> Iterator[Service]:
    token = secrets.token_hex(4)
    service = Service(
        name="redis",
        image=facts()["KATO_TEST_REDIS_IMAGE"],
        container=f"redis-kb-{token}-1",
        volumes=(f"redis-kb-{token}-data:/var/lib/redis",),
        health=PING,
    )
    yield service
    Services({"redis": service}, fleet.engine).stop()
    fleet.engine.api.remove_volume(f"redis-kb-{token}-data")


def test_the_shipped_services_have_the_guides_names():
    declared = services.load(Path("/nonexistent"), {"USER": "me"})

    assert {name: one.container for name, one in declared.items()} == {
        name: f"{name}-kb-me-1" for name in ("redis", "mongo", "clickhouse", "qdrant")
    }
    assert declared["redis"] == Service(
        name="redis",
        image="redis:7-alpine",
        container="redis-kb-me-1",
        command=("redis-server", "--appendonly", "yes"),
        volumes=("redis-kb-me-data:/data",),
        restart="unless-stopped",
        health=ServiceHealth(
            command=("redis-cli", "ping"),
            timing_ns={"Interval": 10**10, "Timeout": 3 * 10**9, "Retries": 3},
        ),
    )


def test_without_user_in_the_environment_the_account_names_them():
    declared = services.load(Path("/nonexistent"), {})

    assert declared["mongo"].container == f"mongo-kb-{getpass.getuser()}-1"


def test_a_home_may_declare_its_own(tmp_path):
    text = "services:\n  redis: {image: x, container_name: redis-kb-${USER}-1}\n"
    (tmp_path / "services.yaml").write_text(text)

    declared = services.load(tmp_path, {"USER": "me"})

    assert declared == {"redis": Service(name="redis", image="x", container="redis-kb-me-1")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("services: [", "services.yaml: "),
        ("services:\n  redis: {image: x, container_name: y, ports: []}", "ports: unknown setting"),
        ("services:\n  redis: {image: x}", "container_name"),
        (
            "services:\n  redis: {image: x, container_name: y, healthcheck: {test: [NO]}}",
            "expected CMD or CMD-SHELL",
        ),
        (
            "services: {r: {image: x, container_name: y, healthcheck: {test: [CMD], timeout: z}}}",
            "'z' is not a duration",
        ),
    ],
)
def test_a_mistake_in_the_declaration_is_said_with_its_file(tmp_path, text, said):
    (tmp_path / "services.yaml").write_text(text)

    with pytest.raises(ConfigError, match=said) as raised:
        read(tmp_path / "services.yaml", {})

    assert str(raised.value).startswith(str(tmp_path / "services.yaml"))


def test_an_unknown_service_is_said_with_the_one_that_was_meant():
    declared = {"redis": Service(name="redis", image="x", container="y")}

    with pytest.raises(ConfigError, match=r"no service 'rediz', did you mean \"redis\"\?"):
        Services(declared, None).ensure(["rediz"])


@pytest.mark.docker
def test_a_service_is_started_once_answers_by_its_name_and_keeps_its_data(fleet, redis):
    told: list[str] = []
    shared = Services({"redis": redis}, fleet.engine, on_progress=told.append)

    shared.ensure(["redis"])
    shared.ensure(["redis"])

    assert told == ["starting redis", "waiting for redis", "waiting for redis"]
    assert [(one.service, one.state) for one in shared.list()] == [(redis, "running")]
    handle = fleet.serve(fleet.instance())
    ask = (
        "import socket; s = socket.create_connection(('redis', 6379));"
        "s.sendall(b'SET a kept\\r\\nSAVE\\r\\n'); assert s.recv(99).startswith(b'+OK')"
    )
    assert fleet.runtime.exec(handle, ("python3", "-c", ask), tty=False) == 0

    shared.stop()
    assert shared.list() == [ServiceState(service=redis, state="missing")]
    shared.stop()
    shared.ensure(["redis"])

    ask = ask.replace("SET a kept\\r\\nSAVE", "GET a").replace("+OK", "$4\\r\\nkept")
    assert fleet.runtime.exec(handle, ("python3", "-c", ask), tty=False) == 0


@pytest.mark.docker
def test_a_container_somebody_else_named_so_is_not_touched(fleet, redis):
    body = {"Image": redis.image, "Entrypoint": ["sleep", "60"]}
    by_hand = fleet.engine.create(redis.container, body)
    shared = Services({"redis": redis}, fleet.engine)

    for change in (lambda: shared.ensure(["redis"]), shared.stop):
        with pytest.raises(Conflict, match=f"{redis.container} was not made as service redis"):
            change()

    assert fleet.engine.api.inspect_container(by_hand)["State"]["Status"] == "created"
    fleet.engine.api.remove_container(by_hand)
    Services({"redis": redis}, fleet.engine).ensure(["redis"])


@pytest.mark.docker
def test_a_service_that_ends_says_its_last_words(fleet, redis):
    broken = replace(redis, command=("sh", "-c", "echo no disk; exit 3"), restart="no")

    with pytest.raises(StartFailed, match="service redis ended:\nno disk"):
        Services({"redis": broken}, fleet.engine).ensure(["redis"])


@pytest.mark.docker
def test_a_service_that_is_never_healthy_is_given_up_on(fleet, redis):
    broken = replace(redis, health=ServiceHealth(command=("false",)))

    with pytest.raises(NotReady, match=r"service redis was not healthy after 0\.3 s") as raised:
        Services({"redis": broken}, fleet.engine).ensure(["redis"], timeout_s=0.3)

    assert raised.value.hint == f"docker logs {redis.container}"
