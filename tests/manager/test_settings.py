"""What config.yaml of a home may say."""

from dataclasses import fields

import pytest

from kato_manager.errors import ConfigError
from kato_manager.gateway.tuning import Tuning
from kato_manager.settings import OTHER_KEYS, Settings


def load(folder, text: str) -> Settings:
    (folder / "config.yaml").write_text(text)
    return Settings.load({"KATO_HOME": str(folder)})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "max_runing: 2\n",
            'config.yaml:1:1: max_runing: unknown setting, did you mean "max_running"?',
        ),
        (
            "# mine\ngateway_port: 9000\nsesions: {audit: true}\n",
            'config.yaml:3:1: sesions: unknown setting, did you mean "sessions"?',
        ),
        ("{lock_timeout: 3}\n", 'config.yaml: lock_timeout: unknown setting, did you mean "lock_'),
    ],
)
def test_a_misspelt_key_is_shown_where_it_stands(tmp_path, text, said):
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)

    assert raised.value.message.startswith(said)
    assert raised.value.hint == f"correct {tmp_path}/config.yaml"


def test_keys_of_other_tools_are_left_alone(tmp_path):
    assert load(tmp_path, "database: {url: x}\n7: x\nruntime: local\n").runtime == "local"


def test_the_keys_of_the_timers_are_known():
    assert {one.name for one in fields(Tuning)} <= OTHER_KEYS
