"""Settings mean the same as environment variable, template setting and session config."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from kato_processor.environment import ProcessSettings, from_environment
from kato_processor.settings import ALIASES, SETTINGS, InvalidSettings, checked, effective

TEMPLATE = yaml.safe_load(
    (Path(__file__).parents[2] / "templates" / "kato.yaml").read_text(encoding="utf-8")
)["settings"]
SHARED = sorted(SETTINGS.keys() & TEMPLATE.keys())


def test_the_template_offers_every_setting() -> None:
    assert SETTINGS.keys() - TEMPLATE.keys() == set()
    for alias, name in ALIASES.items():
        assert alias in TEMPLATE[name]["aliases"]


@pytest.mark.parametrize("name", SHARED)
def test_template_and_processor_agree(name: str) -> None:
    declared, setting = TEMPLATE[name], SETTINGS[name]

    assert declared["env"] == name.upper()
    assert declared.get("default") == setting.default
    for value in _inside(declared):
        assert setting.check(value), value
    for value in _outside(declared):
        assert not setting.check(value) or name == "stm_mode", value


def _inside(declared: dict[str, Any]) -> list[Any]:
    choices = declared.get("choices", [])
    if declared.get("type") == "list":
        return [[], choices]
    if declared.get("type") == "boolean":
        return [True, False]
    return [*choices, *(declared[end] for end in ("minimum", "maximum") if end in declared)]


def _outside(declared: dict[str, Any]) -> list[Any]:
    step = 1 if declared.get("type") == "integer" else 1e-9
    beyond = [declared["minimum"] - step] if "minimum" in declared else []
    beyond += [declared["maximum"] + step] if "maximum" in declared else []
    if declared.get("type") in {"integer", "number"}:
        beyond += ["1", None, math.nan, []]
    if declared.get("type") == "boolean":
        beyond += ["true", 1, None]
    return [*beyond, *(["nonsense"] if "choices" in declared else [])]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("MAX_PATTERN_LENGTH", "7", 7),
        ("MAX_SEQ_LENGTH", "7", 7),
        ("RECALL_THRESHOLD", "0.25", 0.25),
        ("SORT_SYMBOLS", "False", False),
        ("FILTER_PIPELINE", "length, jaccard", ["length", "jaccard"]),
        ("FILTER_PIPELINE", '["length"]', ["length"]),
        ("AFFINITY_EMOTIVE", "joy", "joy"),
        ("FUZZY_TOKEN_THRESHOLD", "0.8", 0.8),
        ("STM_MODE", "ROLLING", "ROLLING"),
        ("PERSISTENCE", "", 5),
    ],
)
def test_variables_become_settings(name: str, text: str, value: Any) -> None:
    setting = ALIASES.get(name.lower(), name.lower())

    assert from_environment({name: text}).config[setting] == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MAX_PATTERN_LENGTH", "-1"),
        ("MAX_PREDICTIONS", "1e3"),
        ("RECALL_THRESHOLD", "nan"),
        ("SORT_SYMBOLS", "perhaps"),
        ("FILTER_PIPELINE", "length,unknown"),
        ("FILTER_PIPELINE", "[1"),
        ("STM_MODE", "rolling"),
        ("SESSION_TTL", "59"),
        ("LOG_LEVEL", "LOUD"),
        ("METRICS_CACHE_TTL_SECONDS", "-1"),
    ],
)
def test_wrong_variables_are_named(name: str, text: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        from_environment({name: text})

    assert list(refused.value.problems) == [name]


def test_a_config_file_that_is_not_one_is_named(tmp_path: Path) -> None:
    for content in (None, b"- a", b"a: [", b"a: \xff", b"settings: 5"):
        file = tmp_path / "settings.yaml"
        if content:
            file.write_bytes(content)

        with pytest.raises(InvalidSettings, match="KATO_CONFIG_FILE"):
            from_environment({"KATO_CONFIG_FILE": str(file)})


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_a_config_file_may_hold_every_setting(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"settings.{suffix}"
    given = {
        "recall_threshold": 0.4,
        "sort": False,
        "fuzzy_token_threshold": None,
        "session_ttl": 120,
        "session_auto_extend": False,
        "log_level": "WARNING",
        "service_name": "other",
        "metrics_cache_ttl_seconds": 1,
        "database": {"of": "another program"},
    }
    file.write_text(json.dumps(given) if suffix == "json" else yaml.safe_dump(given))

    process = from_environment({"KATO_CONFIG_FILE": str(file), "SESSION_TTL": "240"})

    assert process == ProcessSettings(
        service_name="other",
        session_ttl_s=240,
        session_auto_extend=False,
        log_level="WARNING",
        metrics_cache_s=1,
        config=effective({"recall_threshold": 0.4, "sort_symbols": False}),
    )


def test_wrong_settings_of_a_file_are_named_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("settings: {recall_threshold: 3, stm_mode: rolling, session_ttl: '60'}")

    with pytest.raises(InvalidSettings) as refused:
        from_environment({"KATO_CONFIG_FILE": str(file)})

    assert refused.value.problems == {
        f"{file}: recall_threshold": "Must be a number between 0.0 and 1.0, not 3",
        f"{file}: stm_mode": "Must be one of: CLEAR, ROLLING, not 'rolling'",
        f"{file}: session_ttl": "Must be an integer between 60 and 86400, not '60'",
    }


def test_session_config_overlays_process_defaults_in_order() -> None:
    config = effective({"persistence": 7}, checked({"affinity_emotive": "joy", "unknown": 1}))

    assert config["persistence"] == 7
    assert config["affinity_emotive"] == "joy"
    assert "fuzzy_token_threshold" not in config
    assert [*config] == [name for name in SETTINGS if name != "fuzzy_token_threshold"]


def test_an_optional_setting_can_be_unset() -> None:
    set_once = checked({"fuzzy_token_threshold": 0.8})

    unset = effective(set_once | checked({"fuzzy_token_threshold": None}))

    assert "fuzzy_token_threshold" not in unset
