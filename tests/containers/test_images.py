"""Our own image is built offline and serves; others come by policy."""

import ast
import io
import re
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from engines import endpoint, engine, facts
from homes import get
from kato_manager import images, wheel
from kato_manager.errors import ConfigError, ImageNotFound, KatoError
from kato_manager.images import Image, Images
from kato_manager.model import Health, Launch

OFFLINE = ("KATO_TEST_BASE_IMAGE", "KATO_TEST_WHEELS")


def members(context: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(context)) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive.getmembers()}


def test_equal_code_gives_an_equal_context_so_that_builds_are_cached():
    assert images.build_context(None) == images.build_context(None)


def test_the_context_holds_our_own_wheel_and_what_the_processor_needs():
    content = members(images.build_context(None))

    assert set(content) == {
        "processor.Dockerfile",
        "requirements.txt",
        "wheels/.keep",
        f"dist/{wheel.file_name()}",
    }
    needed = content["requirements.txt"].decode().split()
    assert any(one.startswith("starlette") for one in needed)
    assert any(one.startswith("redis") for one in needed)
    assert not any(one.startswith(("kato", "docker", "typer")) for one in needed)
    with zipfile.ZipFile(io.BytesIO(content[f"dist/{wheel.file_name()}"])) as archive:
        assert archive.testzip() is None
        assert "kato_processor/__main__.py" in archive.namelist()
        assert not [name for name in archive.namelist() if "__pycache__" in name]


def imported(package: str) -> set[str]:
    """The modules of others that a package imports anywhere."""
    found: set[str] = set()
    for path in (Path(images.__file__).parents[1] / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).partition(".")[0])
    return found - sys.stdlib_module_names - set(wheel.PACKAGES)


def brought(requirements: list[str]) -> set[str]:
    """The distributions that requirements bring, with what those need."""
    found: set[str] = set()
    waiting = list(requirements)
    while waiting:
        wanted, _, marker = waiting.pop().partition(";")
        name = re.split(r"[^A-Za-z0-9_.-]", wanted)[0].lower().replace("_", "-")
        if name not in found and "extra" not in marker:
            found.add(name)
            try:
                waiting += metadata.requires(name) or ()
            except metadata.PackageNotFoundError:  # for another system
                found.discard(name)
    return found


def test_the_image_gets_all_that_the_processor_imports():
    there = brought(images.requirements(wheel.extras()))

    owners = metadata.packages_distributions()
    guides = {"app", "scripts", "pulsepal"}  # their own names for what is ours
    for module in imported("kato_processor") | imported("kato_sessions") - guides:
        assert {name.lower().replace("_", "-") for name in owners[module]} & there, module


def test_an_extra_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="EXTRAS: vectrs: no such extra") as raised:
        Images(None).build(build_args={"EXTRAS": "redis, vectrs"})

    assert "vectors" in raised.value.hint


def test_wheels_must_be_a_folder(tmp_path):
    with pytest.raises(ConfigError, match=r"WHEELS: .*nowhere is not a folder"):
        images.build_context(tmp_path / "nowhere")


@pytest.mark.docker
def test_our_own_image_is_built_offline_and_serves(fleet):
    told: list[str] = []
    base, wheels = (facts()[name] for name in OFFLINE)

    built = Images(engine("docker"), told.append).build(
        "kato-processor:test", build_args={"BASE_IMAGE": base, "WHEELS": wheels}
    )

    assert told[0] == "building kato-processor:test"
    assert any(line.startswith("Step ") for line in told)
    assert built == Images(engine("docker")).find("kato-processor:test")
    base_size = Images(engine("docker")).find(base).size_bytes
    assert built.size_bytes - base_size < 120_000_000
    launch = Launch(
        image="kato-processor:test",
        data_path="/data",
        health=Health(path="/health", identity="instance_id"),
        read_only=True,
        tmpfs=("/tmp",),
    )
    instance = fleet.instance(launch=launch)
    handle = fleet.serve(instance)
    assert get(instance.port, "/health")["status"] == "healthy"
    assert get(instance.port, "/metrics")["resources"]["memory_bytes"] > 0
    script = "test $(id -u) -ne 0 && touch /data/x"
    assert fleet.runtime.exec(handle, ("sh", "-c", script), tty=False) == 0


@pytest.mark.docker
def test_a_failed_build_says_why_and_how_to_do_without_a_network():
    endpoint("docker")
    with pytest.raises(KatoError, match="image kato-processor:test was not built") as raised:
        Images(engine("docker")).build(
            "kato-processor:test", build_args={"BASE_IMAGE": "kato-test/nonexistent"}
        )

    assert "--build-arg BASE_IMAGE=NAME" in raised.value.hint


@pytest.mark.docker
@pytest.mark.parametrize("policy", ["never", "missing"])
def test_an_image_that_cannot_be_had_is_said_with_the_command_that_helps(policy):
    endpoint("docker")
    name = "localhost:1/kato-test/nonexistent:1"  # a registry that refuses connections

    with pytest.raises(ImageNotFound, match=name) as raised:
        Images(engine("docker")).provide(name, policy)

    assert name in raised.value.hint


@pytest.mark.docker
def test_what_is_there_is_not_fetched_again():
    endpoint("docker")
    told: list[str] = []
    base = facts()["KATO_TEST_BASE_IMAGE"]

    Images(engine("docker"), told.append).provide(base, "missing")

    assert told == []


@pytest.mark.docker
def test_a_list_says_which_images_are_there():
    endpoint("docker")
    base = facts()["KATO_TEST_BASE_IMAGE"]

    there, missing = Images(engine("docker")).list([base, "kato-test/nonexistent", base])

    assert (there.name, there.id[:7], there.size_bytes > 50_000_000) == (base, "sha256:", True)
    assert missing == Image(name="kato-test/nonexistent")
