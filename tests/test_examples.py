"""What the repository shows as an example is loaded, or run as far as it can be."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from kato_manager import templates
from kato_manager.cli.main import application
from kato_manager.config import document
from kato_manager.config.parse import parse_spec
from kato_manager.gateway.sessions.places import places_of
from kato_manager.registry import Registry
from kato_manager.settings import Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TEMPLATES = sorted((ROOT / "templates").glob("*.yaml"))
COMPOSE = sorted((ROOT / "compose").glob("*.yaml"))


def blocks(language: str) -> list[str]:
    """The fenced blocks of the README in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def typed() -> Iterator[list[str]]:
    """Every `kato` command line that the README shows, as words."""
    for block in blocks("console") + blocks("bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ ").partition(" # ")[0], comments=True)
            if words[:1] == ["kato"] and len(words) > 1 and "..." not in words:
                yield words[1:]


def test_the_example_registry_is_as_we_write_it(tmp_path: Path) -> None:
    shutil.copy(ROOT / "instances.example.json", tmp_path / "instances.json")
    registry = Registry(tmp_path)
    text = registry.path.read_text(encoding="utf-8")

    instances = registry.read()
    with registry.edit() as edited:
        for one in edited.values():
            edited[one.id] = one

    assert instances.notes == []
    assert list(instances) == ["processor-1", "processor-2"]
    assert instances.ports == {"processor-1": 8001, "processor-2": 8002}
    assert json.loads(registry.path.read_text(encoding="utf-8")) == json.loads(text)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_shipped_template_loads_and_makes_a_spec(path: Path, tmp_path: Path) -> None:
    template = templates.load(path.stem, home=tmp_path)

    spec = parse_spec({"id": "a", "image": "some:1"}, template)

    assert template.description
    assert spec.template == path.stem
    assert spec.launch.image == "some:1"


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_a_compose_file_names_services_with_images(path: Path) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))

    assert document["services"]
    assert [one for one in document["services"].values() if not {"image", "build"} & set(one)] == []


SETTINGS = [text for text in blocks("yaml") if text.startswith("# ~/.kato/config.yaml")]
INSTANCES = [text for text in blocks("yaml") if text not in SETTINGS]


@pytest.mark.parametrize("text", SETTINGS, ids=range(len(SETTINGS)))
def test_a_configuration_of_the_readme_is_accepted(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    environ = {"KATO_HOME": str(tmp_path)}

    protection = places_of(Settings.load(environ), environ).protection

    assert [rule.name for rule in protection.rules][-2:] == ["ticket", "redacted"]
    assert protection.audit == tmp_path / "sessions-audit.jsonl"
    assert protection.key_file == tmp_path / "sessions.key"


@pytest.mark.parametrize("text", INSTANCES, ids=range(len(INSTANCES)))
def test_a_file_of_instances_of_the_readme_is_accepted(text: str, tmp_path: Path) -> None:
    path = tmp_path / "multi-instance.yaml"
    path.write_text(text, encoding="utf-8")

    loaded = document.load(
        [str(path)],
        template=lambda name: templates.load(name, home=tmp_path),
        environ={},
        stdin=bytes,
    )

    assert loaded.specs
    assert loaded.warnings == ()


@pytest.mark.parametrize("words", list(typed()), ids=" ".join)
def test_a_command_line_of_the_readme_is_understood(words: list[str]) -> None:
    """The flags exist and the words have places; nothing is run."""
    command = typer.main.get_command(application(words[:1]))
    context = command.make_context("kato", list(words[:1]), resilient_parsing=True)
    name, found, _ = command.resolve_command(context, list(words))

    with found.make_context(name, list(words[1:]), parent=context) as made:
        assert made.command is found
