"""Which engine is meant, decided by the environment alone; none is needed."""

import sys
from subprocess import run

import pytest

from kato_manager.errors import ConfigError, RuntimeUnavailable
from kato_manager.runtimes import engine
from kato_manager.runtimes.engine import Engine


@pytest.fixture(autouse=True)
def no_configuration(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


def test_docker_host_comes_first(tmp_path):
    environ = {"DOCKER_HOST": "tcp://10.0.0.1:2375", "DOCKER_CONTEXT": "x", "XDG_RUNTIME_DIR": "/"}

    assert Engine(environ=environ).endpoint == "tcp://10.0.0.1:2375"


@pytest.mark.parametrize(
    "there",
    [
        ["unix:///var/run/docker.sock", "unix:///user/podman/podman.sock"],
        ["unix:///user/podman/podman.sock"],
        [],
    ],
)
def test_podmans_socket_is_taken_where_docker_has_none(monkeypatch, there):
    monkeypatch.setattr(engine, "_is_there", lambda endpoint: endpoint in there)

    endpoint = Engine(environ={"XDG_RUNTIME_DIR": "/user"}).endpoint

    assert endpoint == (there[0] if there else "unix:///var/run/docker.sock")


def test_silence_names_the_address_and_what_helps(tmp_path):
    silent = Engine(f"unix://{tmp_path}/nobody.sock")

    with pytest.raises(
        RuntimeUnavailable, match=r"nobody\.sock: No such file or directory$"
    ) as raised:
        silent.check()

    assert raised.value.hint == (
        "start it (systemctl start docker), name another (DOCKER_HOST=unix:///path),"
        " or do without: --runtime local"
    )


def test_certificates_that_are_not_there_are_a_mistake_of_the_configuration(tmp_path):
    environ = {"DOCKER_HOST": "tcp://127.0.0.1:1", "DOCKER_CERT_PATH": str(tmp_path / "none")}

    with pytest.raises(ConfigError, match="DOCKER_CERT_PATH: "):
        Engine(environ=environ).check()


@pytest.mark.parametrize("host", ["nonsense", "tcp://127.0.0.1:1", "unix:///"])
def test_an_address_without_an_engine_is_silence(host):
    with pytest.raises(RuntimeUnavailable, match=host):
        Engine(environ={"DOCKER_HOST": host}).check()


def test_the_sdk_is_loaded_only_when_an_engine_is_asked():
    modules = "kato_manager.runtimes.docker, kato_manager.images, kato_manager.services"
    code = f"import sys, {modules}; print({{'docker', 'requests', 'yaml'}} & set(sys.modules))"

    said = run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said == "set()\n"
