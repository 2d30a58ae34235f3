"""Other tools get the same instances, in files that those tools accept."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kato_manager import services
from kato_manager.errors import ConfigError
from kato_manager.export.compose import compose
from kato_manager.export.kubernetes import kubernetes, object_name
from kato_manager.export.systemd import systemd

TEXT = """\
instances:
  - id: a
    port: 9001
    name: 'Quote " and $$dollar 100%'
    env: {MONEY: "$$5 $$(x)", "NO": "no", SPACE: "a b"}
    labels: {team: text, "odd key": "x y"}
    limits: {cpus: 0.5, memory: 512m, pids: 100, gpus: all}
    volumes: ["/srv:/srv:ro", "cache:/cache"]
    extra_hosts: ["db:10.0.0.1", "host.docker.internal:host-gateway"]
    restart: on-failure
    grace: 20s
    group: nlp
  - {id: Odd.Id, depends_on: [a], read_only: true, tmpfs: ["/tmp:size=10m"], pull: always}
  - {id: web, template: http-service, image: "nginx:alpine", container_port: 80, health: /}
"""


def compose_tool() -> list[str]:
    for words in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(words[0]):
            known = subprocess.run([*words, "version"], capture_output=True, check=False)
            if known.returncode == 0:
                return words
    return []


def test_the_compose_file_says_what_our_own_engine_would_do(read):
    document = yaml.safe_load(compose(read(TEXT).specs))

    first = document["services"]["kato-a"]
    assert first["image"] == "kato-processor:latest"
    assert first["ports"] == ["127.0.0.1:9001:8000"]
    assert first["volumes"] == ["kato-a-data:/data", "/srv:/srv:ro", "cache:/cache"]
    assert first["environment"]["KATO_DATA_DIR"] == "/data"
    assert first["environment"]["MONEY"] == "$$5 $$(x)"  # Compose undoubles it
    assert (first["cpus"], first["mem_limit"], first["pids_limit"]) == (0.5, 2**29, 100)
    assert first["stop_grace_period"] == "20s"
    odd = document["services"]["kato-Odd.2eId"]
    assert odd["depends_on"] == ["kato-a"]
    assert odd["ports"] == ["127.0.0.1:8001:8000"]
    assert document["services"]["kato-web"]["ports"] == ["127.0.0.1:8002:80"]
    assert set(document["volumes"]) == {"kato-a-data", "kato-Odd.2eId-data", "cache"}


@pytest.mark.docker
def test_a_compose_tool_accepts_the_compose_file(read, folder):
    tool = compose_tool()
    if not tool:
        pytest.skip("neither `docker compose` nor docker-compose is installed")
    (folder / "compose.yaml").write_text(compose(read(TEXT).specs))

    done = subprocess.run(
        [*tool, "-f", "compose.yaml", "config"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert set(services) == {"kato-a", "kato-Odd.2eId", "kato-web"}
    assert services["kato-a"]["environment"]["SPACE"] == "a b"


def test_the_published_image_comes_with_the_services_it_needs(read, folder):
    declared = services.load(folder / "home", {"USER": "me"})
    specs = read("instances: [{id: up, template: kato-upstream}]").specs

    document = yaml.safe_load(compose(specs, declared))

    assert set(document["services"]) == {"redis", "clickhouse", "qdrant", "kato-up"}
    assert document["services"]["kato-up"]["depends_on"] == ["redis", "clickhouse", "qdrant"]
    assert document["services"]["redis"]["container_name"] == "redis-kb-me-1"
    assert "redis-kb-me-data" in document["volumes"]


def test_kubernetes_accepts_the_manifests(read, folder):
    (folder / "k8s.yaml").write_text(kubernetes(read(TEXT).specs))
    tool = str(Path(sys.executable).with_name("kubernetes-validate"))

    done = subprocess.run(
        [tool, "--strict", "k8s.yaml"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    passed = [line for line in (done.stdout + done.stderr).splitlines() if "passed" in line]
    assert len(passed) == 9  # each a Deployment and a Service, three claims


def test_the_manifests_run_the_same_processor(read):
    documents = list(yaml.safe_load_all(kubernetes(read(TEXT).specs)))

    kinds = [(one["kind"], one["metadata"]["name"]) for one in documents]
    assert kinds[:4] == [
        ("PersistentVolumeClaim", "kato-a-data"),
        ("PersistentVolumeClaim", "cache"),
        ("Deployment", "kato-a"),
        ("Service", "kato-a"),
    ]
    (container,) = documents[2]["spec"]["template"]["spec"]["containers"]
    assert {"name": "MONEY", "value": "$5 $$(x)"} in container["env"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/health", "port": 8000}
    assert container["resources"] == {
        "limits": {"cpu": "0.5", "memory": str(2**29), "nvidia.com/gpu": "1"}
    }


def test_names_that_kubernetes_does_not_allow_are_told_apart(read):
    specs = read('instances: [{id: a.b}, {id: a-b}, {id: a_b}, {id: "a b"}, {id: é}]').specs

    names = [object_name(spec) for spec in specs]

    assert len(set(names)) == 5
    assert names[1] == "kato-a-b"
    assert all(name.isascii() and name == name.lower() for name in names)


def test_units_let_systemd_listen_and_hand_the_socket_over(read):
    units = systemd(read(TEXT).specs)

    assert set(units) == {
        "kato-a.service",
        "kato-a.socket",
        "kato-Odd.2eId.service",
        "kato-Odd.2eId.socket",
        "kato-web.service",
    }
    assert "ListenStream=127.0.0.1:9001\n" in units["kato-a.socket"]
    service = units["kato-a.service"]
    assert f"ExecStart={sys.executable} -m kato_processor --fd 3\n" in service
    assert 'Environment="MONEY=$5 $(x)"\n' in service
    assert 'Description=Quote " and $dollar 100%% (a)\n' in service
    assert "MemoryMax=536870912\nCPUQuota=50%\nTasksMax=100\n" in service
    assert "Requires=kato-a.service\nAfter=kato-a.service\n" in units["kato-Odd.2eId.service"]
    assert "--publish 127.0.0.1:8002:80" in units["kato-web.service"]


@pytest.mark.parametrize("target", ["compose", "kubernetes"])
def test_the_command_writes_to_stdout_or_a_file(home, tmp_path, target):
    (tmp_path / "multi.yaml").write_text("instances: [{id: a}]")

    shown = home.kato("export", target, "-f", str(tmp_path / "multi.yaml"))
    home.kato("export", target, "-f", str(tmp_path / "multi.yaml"), "-o", str(tmp_path / "out"))

    assert (tmp_path / "out").read_text() == shown.out


def test_the_command_writes_units_into_a_folder(home, tmp_path):
    (tmp_path / "multi.yaml").write_text("instances: [{id: a}]")

    home.kato(
        "export", "systemd", "-f", str(tmp_path / "multi.yaml"), "-o", str(tmp_path / "units")
    )

    assert sorted(one.name for one in (tmp_path / "units").iterdir()) == [
        "kato-a.service",
        "kato-a.socket",
    ]


@pytest.mark.parametrize("target", [compose, kubernetes])
def test_what_has_no_image_is_named_rather_than_written_wrongly(read, target):
    text = "instances: [{id: files, template: http-service, command: serve}]"

    with pytest.raises(ConfigError, match="instance 'files' has no image"):
        target(read(text).specs)
