"""What the engine really does with what is asked of it."""

import fcntl
import os
import struct
import subprocess
import sys
import termios

import pytest

from engines import Following, endpoint, facts, listen, new_fleet
from homes import get, wait_until
from kato_manager.errors import ConfigError, Conflict, ImageNotFound
from kato_manager.model import Handle, Health, Launch, Limits
from kato_manager.runtimes.docker import DockerRuntime
from kato_manager.runtimes.engine import Engine

pytestmark = pytest.mark.docker


def test_a_container_gets_limits_a_read_only_root_and_no_more_privileges(fleet, tmp_path):
    (tmp_path / "given").write_text("hello")
    launch = Launch(
        image="kato-test/echo",
        args=("--id", "{id}", "--host", "{host}", "--port", "{port}"),
        health=Health(path="/health", identity="instance_id"),
        data_path="/data",
        read_only=True,
        tmpfs=("/tmp",),
    )
    limits = Limits(cpus=0.5, memory_bytes=64 * 1024**2, pids=20)
    instance = fleet.instance(
        launch=launch,
        limits=limits,
        volumes=(f"{tmp_path}/given:/given:ro",),
        extra_hosts=("database:10.1.2.3",),
    )
    fleet.spec()  # makes the image
    handle = fleet.serve(instance)

    def succeeds(script: str) -> bool:
        return fleet.runtime.exec(handle, ("sh", "-c", script), tty=False) == 0

    assert succeeds("test $(id -u) -ne 0")
    assert succeeds("grep -q 'NoNewPrivs:.1' /proc/self/status")
    assert succeeds("! touch /somewhere 2>/dev/null && touch /tmp/x /data/x")
    assert succeeds("test $(cat /given) = hello && ! touch /given 2>/dev/null")
    assert succeeds("grep -q '10.1.2.3.*database' /etc/hosts")
    assert fleet.runtime.stats(handle).memory_limit_bytes == limits.memory_bytes
    host = fleet.engine.api.inspect_container(handle["container"])["HostConfig"]
    assert (host["NanoCpus"], host["PidsLimit"]) == (500_000_000, 20)


def test_what_used_too_much_memory_says_so(fleet):
    launch = Launch(
        image=facts()["KATO_TEST_BASE_IMAGE"],
        args=("python3", "-c", "x = bytearray(500_000_000)"),
    )
    instance = fleet.instance(launch=launch, limits=Limits(memory_bytes=32 * 1024**2))

    handle = fleet.runtime.start(instance, listen(instance.port))

    observed = wait_until(
        lambda: (seen := fleet.runtime.inspect(handle)).state == "exited" and seen
    )
    assert (observed.exit_code, observed.reason) == (137, "out of memory")


def test_starting_what_runs_gives_the_same_handle_and_frees_the_reservation(fleet):
    instance = fleet.instance()
    handle = fleet.serve(instance)
    unused = listen()

    assert fleet.runtime.start(instance, unused) == handle

    assert unused.fileno() == -1


def test_what_runs_with_other_settings_is_not_replaced_by_a_start(fleet):
    instance = fleet.instance()
    fleet.serve(instance)
    changed = fleet.instance(port=instance.port, env={"ECHO_X": "changed"})

    with pytest.raises(Conflict, match="already runs on port") as raised:
        fleet.runtime.start(changed, listen())

    assert raised.value.hint == f"kato adopt {instance.id}"
    assert "ECHO_X" not in get(instance.port)["settings"]


def test_the_network_is_made_again_when_somebody_removed_it(fleet):
    network = f"kato-test-{fleet.suffix}"
    runtime = DockerRuntime(
        registry_id=lambda: fleet.registry_id,
        home=fleet.home,
        engine=fleet.engine,
        network=network,
    )
    for name in ("a", "b"):
        instance = fleet.instance(name)
        handle = runtime.start(instance, listen(instance.port))
        attached = fleet.engine.api.inspect_container(handle["container"])["NetworkSettings"]
        assert list(attached["Networks"]) == [network]
        runtime.stop(handle, grace_s=0)
        fleet.engine.api.remove_network(network)


def test_a_missing_image_is_provided_by_policy(fleet):
    asked = []

    def provide(image: str, policy: str) -> None:
        asked.append((image, policy))
        fleet.engine.api.tag("kato-test/echo", image)

    fleet.spec()  # makes the image
    image = f"kato-test/made-{fleet.suffix}:1"
    launch = Launch(image=image, args=("--id", "{id}", "--host", "{host}", "--port", "{port}"))
    runtime = DockerRuntime(
        registry_id=lambda: fleet.registry_id,
        home=fleet.home,
        engine=fleet.engine,
        provide_image=provide,
    )
    missing = fleet.instance("missing", launch=launch)
    always = fleet.instance("always", launch=launch, pull="always")

    with pytest.raises(ImageNotFound, match=image) as raised:
        fleet.runtime.start(missing, listen(missing.port))
    assert raised.value.hint == f"kato image pull {image}"
    for instance in (missing, always):
        runtime.start(instance, listen(instance.port))

    assert asked == [(image, "missing"), (image, "always")]
    fleet.close()
    fleet.engine.api.remove_image(image)


def test_events_tell_the_life_of_an_instance_and_no_others(fleet):
    other = fleet.runtime_on(fleet.engine)
    with new_fleet("docker") as strangers, Following(fleet.runtime, 2) as following:
        strangers.serve(strangers.instance())
        instance = fleet.instance(echo="die")
        handle = other.start(instance, listen(instance.port))

        heard = [following.next() for _ in range(2)]

    assert [(one.instance_id, one.kind, one.detail) for one in heard] == [
        (instance.id, "started", ""),
        (instance.id, "died", "exit code 3"),
    ]
    other.stop(handle, grace_s=0)


ATTACH = """
import sys
from kato_manager.runtimes import attach
from kato_manager.runtimes.engine import Engine
endpoint, container, tty, *words = sys.argv[1:]
sys.exit(attach.run(Engine(endpoint).api, container, tuple(words), tty=tty == "tty"))
"""


def attached(handle: Handle, *words: str, tty: str = "") -> list[str]:
    """The command line of a process that runs `words` beside an instance."""
    return [sys.executable, "-c", ATTACH, endpoint("docker"), handle["container"], tty, *words]


def test_a_command_gets_our_input_until_it_ends(fleet):
    handle = fleet.serve(fleet.instance())

    done = subprocess.run(
        attached(handle, "sh", "-c", "tr a-z A-Z; exit 5"),
        input=b"one\ntwo\n" * 20_000,
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (5, b"")
    assert done.stdout == b"ONE\nTWO\n" * 20_000


def test_a_command_gets_our_terminal_and_its_size(fleet):
    handle = fleet.serve(fleet.instance())
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    script = "until [ \"$(stty size)\" = '33 101' ]; do :; done; read x; echo [$x]; exit 6"

    running = subprocess.Popen(
        attached(handle, "sh", "-c", script, tty="tty"), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.write(ours, b"typed\r")

    assert running.wait(timeout=60) == 6
    os.close(theirs)
    assert b"[typed]\r\n" in os.read(ours, 10_000)
    os.close(ours)


@pytest.mark.podman
def test_events_are_the_same_from_podman():
    with new_fleet("podman") as fleet, Following(fleet.runtime, 2) as following:
        instance = fleet.instance(echo="die")
        fleet.runtime.start(instance, listen(instance.port))

        heard = [following.next() for _ in range(2)]

        assert [(one.instance_id, one.kind) for one in heard] == [
            (instance.id, "started"),
            (instance.id, "died"),
        ]


@pytest.mark.parametrize("kind", ["docker", pytest.param("podman", marks=pytest.mark.podman)])
def test_the_engine_is_named_by_docker_host_and_knows_itself(kind):
    engine = Engine(environ={"DOCKER_HOST": endpoint(kind)})

    engine.check()

    assert (engine.kind, engine.endpoint) == (kind, endpoint(kind))
    assert engine.id == Engine(endpoint(kind)).id


def test_the_engine_may_be_named_by_a_context(tmp_path, monkeypatch):
    from docker.context import ContextAPI

    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    ContextAPI.create_context("mine", host=endpoint("docker"))

    engine = Engine(environ={"DOCKER_CONTEXT": "mine"})

    assert engine.endpoint == endpoint("docker")
    engine.check()


def test_a_context_that_does_not_exist_is_said(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))

    with pytest.raises(ConfigError, match="there is no Docker context 'none'") as raised:
        Engine(environ={"DOCKER_CONTEXT": "none"}).check()

    assert raised.value.hint == "docker context ls"
