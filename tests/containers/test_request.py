"""What is asked of the engine, and what its answers mean; no engine is needed."""

from datetime import UTC, datetime

import pytest

from kato_manager.model import Health, Instance, InstanceSpec, Launch, Limits, Operation, Status
from kato_manager.runtimes import container, usage
from kato_manager.runtimes.base import Found, Observed, Usage
from kato_manager.runtimes.ownership import Owner

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OWNER = Owner(registry_id=lambda: "r-1", home="host:/home/me/.kato")


def an_instance(**spec) -> Instance:
    launch = Launch(
        image="kato-processor:latest",
        args=("--port", "{port}", "--host={host}"),
        environment={"KATO_DATA_DIR": "{data}", "RECALL": "0.1", "BRACES": '{"a": "{unknown}"}'},
        data_path="/data",
        health=Health(path="/health", identity="instance_id"),
    )
    return Instance(
        spec=InstanceSpec(**{"id": "a b", "name": "Ä", "group": "g", "launch": launch, **spec}),
        port=8001,
        operation=Operation(id="op-1", verb="start", pid=1, started="", since=NOW),
        origin="/multi.yaml",
        created_at=NOW,
        updated_at=NOW,
    )


def request(instance: Instance) -> dict:
    return container.request(instance, labels=OWNER.labels(instance), network="kato-network")


def test_a_request_is_closed_to_the_network_and_to_more_privileges():
    body = request(an_instance(env={"RECALL": "0.3"}, restart="on-failure", grace_s=2.5))

    assert body.pop("Labels")
    assert body == {
        "Image": "kato-processor:latest",
        "Cmd": ["--port", "8000", "--host=0.0.0.0"],
        "Env": [
            "KATO_INSTANCE_ID=a b",
            "KATO_DATA_DIR=/data",
            "RECALL=0.3",
            'BRACES={"a": "{unknown}"}',
        ],
        "ExposedPorts": {"8000/tcp": {}},
        "StopTimeout": 3,
        "HostConfig": {
            "NetworkMode": "kato-network",
            "PortBindings": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8001"}]},
            "RestartPolicy": {"Name": "on-failure"},
            "SecurityOpt": ["no-new-privileges"],
            "Binds": ["kato-a.20b-data:/data"],
            "ExtraHosts": [],
            "ReadonlyRootfs": False,
            "Tmpfs": {},
        },
    }


def test_limits_are_in_the_engines_units():
    limits = Limits(cpus=1.5, memory_bytes=512 * 1024**2, pids=100)

    host = request(an_instance(limits=limits))["HostConfig"]

    assert host["NanoCpus"] == 1_500_000_000
    assert host["Memory"] == host["MemorySwap"] == 536_870_912
    assert host["PidsLimit"] == 100
    assert "DeviceRequests" not in host


@pytest.mark.parametrize(
    ("wish", "asked"),
    [
        ("all", {"Count": -1}),
        ("2", {"Count": 2}),
        ("device=0,3", {"DeviceIDs": ["0", "3"]}),
    ],
)
def test_gpus_are_asked_for_as_dockers_own_command_does(wish, asked):
    host = request(an_instance(limits=Limits(gpus=wish)))["HostConfig"]

    assert host["DeviceRequests"] == [{"Driver": "", "Capabilities": [["gpu"]], **asked}]


def test_a_read_only_root_has_room_where_the_template_says():
    launch = Launch(image="x", read_only=True, tmpfs=("/tmp", "/run:size=64m"))

    host = request(
        an_instance(launch=launch, volumes=("/src:/dst:ro",), extra_hosts=("db:10.0.0.1",))
    )

    assert host["HostConfig"]["ReadonlyRootfs"] is True
    assert host["HostConfig"]["Tmpfs"] == {"/tmp": "", "/run": "size=64m"}
    assert host["HostConfig"]["Binds"] == ["/src:/dst:ro"]
    assert host["HostConfig"]["ExtraHosts"] == ["db:10.0.0.1"]
    assert "Cmd" not in host


def test_labels_carry_everything_and_users_cannot_forge_them():
    instance = an_instance(labels={"team": "x", container.REGISTRY: "forged"})

    labels = OWNER.labels(instance)

    spec = labels.pop(container.SPEC)
    assert labels == {
        "team": "x",
        "io.kato.registry": "r-1",
        "io.kato.home": "host:/home/me/.kato",
        "io.kato.instance.id": "a b",
        "io.kato.instance.name": "Ä",
        "io.kato.instance.group": "g",
        "io.kato.port": "8001",
        "io.kato.config-hash": instance.spec.fingerprint,
        "io.kato.op": "op-1",
        "io.kato.origin": "/multi.yaml",
        "io.kato.version": "1",
    }
    assert '"max_predictions"' not in spec
    assert '"name":"Ä"' in spec


@pytest.mark.parametrize(
    ("state", "words", "observed"),
    [
        ("running", "Up 2 minutes (healthy)", Observed(state="running")),
        ("paused", "Up 2 minutes (Paused)", Observed(state="running")),
        ("exited", "Exited (137) 1 second ago", Observed(state="exited", exit_code=137)),
        ("dead", "Dead", Observed(state="exited")),
        ("created", "Created", Observed(state="exited", reason="created, never started")),
    ],
)
def test_a_line_of_the_engines_list_rebuilds_the_instance(state, words, observed):
    instance = an_instance(settings={"n": [1, 2.5, None, "ü"]}, depends_on=("b",))
    summary = {
        "Id": "c0ffee",
        "Labels": OWNER.labels(instance),
        "State": state,
        "Status": words,
        "Created": NOW.timestamp(),
    }

    assert container.found(summary) == Found(
        instance=Instance(
            spec=instance.spec,
            port=8001,
            status=Status.STARTING if state == "created" else Status.RUNNING,
            runtime="docker",
            origin="/multi.yaml",
            created_at=NOW,
            updated_at=NOW,
        ),
        observed=observed,
        registry_id="r-1",
        operation_id="op-1",
        created_at=NOW,
    )


@pytest.mark.parametrize(
    ("state", "observed"),
    [
        (
            {
                "Status": "exited",
                "ExitCode": 137,
                "OOMKilled": True,
                "StartedAt": "2026-01-02T03:04:05.123456789Z",
            },
            Observed(
                state="exited",
                exit_code=137,
                reason="out of memory",
                started_at=NOW.replace(microsecond=123456),
            ),
        ),
        (
            {
                "Status": "created",
                "ExitCode": 128,
                "Error": "x",
                "StartedAt": "0001-01-01T00:00:00Z",
            },
            Observed(state="exited", reason="created, never started"),
        ),
        (
            {
                "Status": "running",
                "ExitCode": 0,
                "Error": "",
                "StartedAt": "2026-01-02T04:04:05+01:00",
            },
            Observed(state="running", started_at=NOW),
        ),
    ],
)
def test_the_engines_full_answer_says_why_it_ended(state, observed):
    assert container.observed({"State": state}, {"n": 1}) == Observed(
        **{
            name: getattr(observed, name) for name in ("state", "exit_code", "started_at", "reason")
        },
        handle={"n": 1},
    )


DOCKER = "driver failed programming external connectivity on endpoint p1 (a2): "


@pytest.mark.parametrize(
    "said",
    [
        f"{DOCKER}Error starting userland proxy: listen tcp4 8001: bind: address already in use",
        f"{DOCKER}Bind for 127.0.0.1:8001 failed: port is already allocated",
        "cannot listen on the TCP port: listen tcp4 127.0.0.1:8001: bind: address already in use",
    ],
)
def test_every_engines_words_for_a_taken_port_are_known(said):
    assert container.is_port_conflict(said)
    assert not container.is_name_conflict(said)


@pytest.mark.parametrize(
    "said",
    [
        'Conflict. The container name "/p2" is already in use by container "e042". You have to ...',
        'creating container storage: the container name "p2" is already in use by 1b48. You ...',
    ],
)
def test_every_engines_words_for_a_taken_name_are_known(said):
    assert container.is_name_conflict(said)
    assert not container.is_port_conflict(said)


def test_usage_is_what_changed_between_two_readings():
    def reading(at: str, cpu_ns: int) -> dict:
        return {
            "read": at,
            "cpu_stats": {"cpu_usage": {"total_usage": cpu_ns}},
            "memory_stats": {"usage": 5000, "limit": 9000, "stats": {"total_inactive_file": 1000}},
            "networks": {
                "eth0": {"rx_bytes": 1, "tx_bytes": 2},
                "eth1": {"rx_bytes": 3, "tx_bytes": 4},
            },
            "pids_stats": {"current": 7},
        }

    first = reading("2026-01-02T03:04:05.000000000Z", 1_000_000_000)
    second = reading("2026-01-02T03:04:05.500000000Z", 1_750_000_000)

    assert usage.between(first, second) == Usage(
        cpu_percent=150.0,
        memory_bytes=4000,
        memory_limit_bytes=9000,
        received_bytes=4,
        sent_bytes=6,
        pids=7,
    )
    assert usage.between(second, second).cpu_percent == 0.0
