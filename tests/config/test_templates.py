"""Templates declare processors; their settings become flags, checks and environment variables."""

from pathlib import Path

import pytest

from kato_manager import templates
from kato_manager.config import services
from kato_manager.errors import ConfigError
from kato_processor.environment import from_environment
from kato_processor.settings import SETTINGS

SHIPPED = sorted(Path(__file__).parents[2].joinpath("templates").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_template_has_no_mistake(path, tmp_path):
    template = templates.load(str(path), home=tmp_path)

    assert template.description
    assert all(setting.help for setting in template.settings.values())


def test_the_kato_template_declares_what_the_processor_knows(tmp_path):
    template = templates.load(home=tmp_path)

    declared = {name: template.settings[name].default for name in SETTINGS}
    assert declared == {name: setting.default for name, setting in SETTINGS.items()}


def test_what_the_template_puts_into_the_environment_the_processor_takes(read):
    text = """\
instances:
  - id: a
    settings: {sort: no, filter_pipeline: [minhash, length], recall_threshold: 0.25}
    max_seq_length: 7
    session_ttl: 100
    stm_mode: ROLLING
    log_level: DEBUG
"""
    (spec,) = read(text).specs

    process = from_environment(spec.launch.environment)

    wanted = {name: value for name, value in spec.settings.items() if name in SETTINGS}
    assert process.config == wanted
    assert process.config["filter_pipeline"] == ["minhash", "length"]
    assert (process.session_ttl_s, process.log_level) == (100, "DEBUG")


def test_the_users_own_template_hides_the_shipped_one(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "kato.yaml").write_text("extends: http-service\nimage: mine:1\n")

    template = templates.load(home=tmp_path)

    assert template.launch.image == "mine:1"
    assert template.launch.container_port == 8080


def test_a_template_can_be_given_by_path(tmp_path):
    path = tmp_path / "web.yaml"
    path.write_text("image: nginx:alpine\ncontainer_port: 80\n")

    template = templates.load(str(path), home=tmp_path)

    assert (template.name, template.launch.image) == ("web", "nginx:alpine")


def test_an_unknown_template_says_which_there_are(tmp_path):
    with pytest.raises(ConfigError) as error:
        templates.load("katoo", home=tmp_path)

    assert error.value.message == "no template 'katoo', did you mean \"kato\"?"
    assert error.value.hint == (
        "there are: http-service, kato, kato-upstream; or give a path: ./katoo.yaml"
    )


def test_every_mistake_of_a_template_is_told(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("imge: x\nlisten: pipe\nsettings: {a: {type: whole, defalt: 3}}\n")

    with pytest.raises(ConfigError) as error:
        templates.load(str(path), home=tmp_path)

    assert [one.splitlines()[0] for one in error.value.problems] == [
        f'{path}:1:1: imge: unknown key of a template, did you mean "image"?',
        f'{path}:2:9: listen: expected one of fd, port, not "pipe"',
        (
            f"{path}:3:22: settings.a.type: expected one of integer, number, boolean, text, list,"
            ' not "whole"'
        ),
        f"{path}:3:29: settings.a.defalt: unknown setting",
    ]


def test_templates_that_extend_one_another_without_end_are_refused(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "a.yaml").write_text("extends: b\n")
    (tmp_path / "templates" / "b.yaml").write_text("extends: a\n")

    with pytest.raises(ConfigError, match="more than 10 templates extend one another"):
        templates.load("a", home=tmp_path)


def test_every_setting_is_a_flag_by_each_of_its_names(tmp_path):
    template = templates.load(home=tmp_path)

    words = [
        "--recall-threshold",
        "0.3",
        "--max-sequence-length=7",
        "--no-sort",
        "--stm_mode=ROLLING",
    ]

    assert templates.read_flags(template, words) == {
        "recall_threshold": "0.3",
        "max_pattern_length": "7",
        "sort_symbols": "false",
        "stm_mode": "ROLLING",
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--recal-threshold", "1"],
            "no such option: --recal-threshold, did you mean --recall-threshold?",
        ),
        (["--persistence"], "--persistence needs a value: INTEGER"),
        (["--no-sort=x"], "--no-sort takes no value"),
        (["stray"], "unexpected word 'stray'"),
    ],
)
def test_a_flag_that_is_none_says_so(tmp_path, words, message):
    template = templates.load(home=tmp_path)

    with pytest.raises(ConfigError) as error:
        templates.read_flags(template, words)

    assert error.value.message == message


def test_every_service_a_shipped_template_needs_is_declared(tmp_path):
    declared = services.read(SHIPPED[0].parents[1] / "compose" / "services.yaml", {"USER": "me"})

    needed = {
        name
        for path in SHIPPED
        for name in templates.load(str(path), home=tmp_path).launch.services
    }

    assert needed == {"redis", "clickhouse", "qdrant"}
    assert needed <= set(declared)
