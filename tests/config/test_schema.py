"""The published JSON Schema agrees with what reading accepts."""

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from kato_manager import templates
from kato_manager.config.schema import file_schema

HERE = Path(__file__).parent
EXAMPLES = [
    text
    for name in ("test_guide.py", "test_document.py", "test_mutations.py")
    for text in re.findall(r'"""\\\n(.*?)"""', (HERE / name).read_text(encoding="utf-8"), re.DOTALL)
    if "instances:" in text
]
EXAMPLES += [
    path.read_text(encoding="utf-8") for path in HERE.parents[1].joinpath("examples").glob("*.yaml")
]


@pytest.fixture(scope="module")
def validator(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    found = [templates.load(name, home=home) for name in templates.available(home)]
    schema = file_schema(found)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


class Yaml12(yaml.SafeLoader):
    """As editors read: `no` and times are text; only true and false are booleans."""


Yaml12.yaml_implicit_resolvers = {
    first: [(tag, exp) for tag, exp in resolvers if not tag.endswith(("bool", "timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Yaml12.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"true|false|True|False"), list("tTfF")
)


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_that_reading_takes_fits_the_schema(read, validator, text):
    read(text)

    document = yaml.load(text, Loader=Yaml12)  # noqa: S506 - it is a SafeLoader
    own = document.get("templates", {})
    for entry in document["instances"]:
        if entry.get("template") in own:  # its own settings are unknown to the schema
            entry.pop("depth", None)
    assert [error.message for error in validator.iter_errors(document)] == []


WRONG = [
    "instances: [{id: a, prot: 1}]",
    "instances: [{id: a, port: 80}]",
    "instances: [{id: a, recall_threshold: 1.5}]",
    "instances: [{id: a, stm_mode: ROLING}]",
    "instances: [{id: a, filter_pipeline: [magic]}]",
    "instances: [{id: a, limits: {cpu: 1}}]",
    "instances: [{name: x}]",
    "instances: 3",
    "instancs: []",
    "shared: [1]",
    "instances: [{id: a, settings: {persistence: 0}}]",
    "instances: [{id: a, replicas: -1}]",
    "instances: [{id: a, matrix: {persistence: 3}}]",
]


@pytest.mark.parametrize("text", WRONG)
def test_what_the_schema_refuses_reading_refuses_too(mistakes, validator, text):
    assert not validator.is_valid(yaml.load(text, Loader=Yaml12))  # noqa: S506
    assert mistakes(text)


def test_the_command_prints_the_schema(home):
    done = home.kato("schema")

    assert done.code == 0
    settings = done.json["$defs"]["entry"]["properties"]
    assert settings["persistence"]["description"]
    assert settings["max_seq_length"] == settings["max_pattern_length"]


def test_an_editor_can_say_what_every_key_means(validator):
    entry = validator.schema["$defs"]["entry"]["properties"]
    properties = {**validator.schema["properties"], **entry}

    assert [key for key, schema in properties.items() if not schema.get("description")] == []
