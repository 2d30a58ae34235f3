"""Flags and request bodies pass the same door as files."""

import sys

import pytest

from kato_manager import templates
from kato_manager.config.parse import override, parse_spec
from kato_manager.errors import ConfigError


@pytest.fixture
def kato(tmp_path):
    return templates.load(home=tmp_path)


def test_flat_settings_and_those_under_settings_are_the_same(kato):
    flat = parse_spec({"id": "a", "max_seq_length": 5, "recall_threshold": 0.3}, kato)
    nested = parse_spec(
        {"id": "a", "settings": {"max_pattern_length": "5", "recall_threshold": "0.3"}}, kato
    )

    assert flat == nested


def test_every_mistake_of_a_request_body_is_told(kato):
    body = {"id": "x/y", "prot": 1, "persistence": True, "env": {"A": 5}, "labels": {"n": None}}

    with pytest.raises(ConfigError) as error:
        parse_spec(body, kato, source="body")

    assert error.value.problems == (
        'body: prot: unknown setting, did you mean "port"?',
        'body: persistence: expected an integer from 1 to 100, not "true"',
        "body: id: \"x/y\" may not contain '/'",
    )


@pytest.mark.parametrize("raw", [{}, {"id": None}, {"id": ""}, {"id": ["a"]}, {"id": "\ud800"}])
def test_an_id_is_needed(kato, raw):
    with pytest.raises(ConfigError, match="id"):
        parse_spec(raw, kato)


@pytest.mark.parametrize(
    ("group", "rule"),
    [("api", "is reserved for the gateway's own paths"), ("a/b", "may not contain '/'")],
)
def test_a_group_is_a_path_of_the_gateway_as_an_id_is(kato, group, rule):
    with pytest.raises(ConfigError) as error:
        parse_spec({"id": "a", "group": group}, kato)

    assert error.value.problems == (f'group: "{group}" {rule}',)


def test_a_body_nested_without_end_is_refused(kato):
    body: dict = {}
    for _ in range(5000):
        body = {"env": body}

    with pytest.raises(ConfigError, match=r"^nested deeper than 50 levels$"):
        parse_spec({"id": "a", **body}, kato)


def test_what_has_no_effect_is_told(kato):
    told = []

    parse_spec({"id": "a", "zmq_port": 5555}, kato, warn=told.append)

    assert told == ["zmq_port: ignored: an instance has one port, for HTTP"]


def test_an_override_changes_what_is_given_and_nothing_else(kato):
    recorded = parse_spec(
        {"id": "a", "port": 9000, "env": {"A": "1"}, "persistence": 7, "image": "mine:1"}, kato
    )

    changed = override(recorded, {"recall_threshold": "0.4", "env": {"B": "2"}}, kato)

    assert changed.settings == {**recorded.settings, "recall_threshold": 0.4}
    assert changed.env == {"A": "1", "B": "2"}
    assert changed.port == 9000
    assert changed.launch.image == "mine:1"
    assert changed.launch.environment == {
        **recorded.launch.environment,
        "RECALL_THRESHOLD": "0.4",
    }


def test_an_override_of_nothing_is_the_same_spec(kato):
    recorded = parse_spec({"id": "a", "health": "/x", "filter_pipeline": ["length"]}, kato)

    assert override(recorded, {}, kato) == recorded


def test_an_unset_setting_leaves_the_environment(kato):
    recorded = parse_spec({"id": "a", "affinity_emotive": "joy"}, kato)

    changed = override(recorded, {"affinity_emotive": None}, kato)

    assert "AFFINITY_EMOTIVE" not in changed.launch.environment
    assert "affinity_emotive" not in changed.settings


def test_reading_a_spec_does_not_load_pydantic(tmp_path):
    import subprocess

    code = (
        "import sys, pathlib\n"
        "from kato_manager import templates\n"
        "from kato_manager.config.parse import parse_spec\n"
        "parse_spec({'id': 'a'}, templates.load(home=pathlib.Path('.')))\n"
        "print(sorted({'pydantic', 'typer', 'docker', 'fastapi'} & set(sys.modules)))\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
