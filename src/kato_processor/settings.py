"""Every setting once: name, default, what it may be. Environment, file and session config agree.

Source: KATO contract 1.4.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Config = dict[str, Any]
Check = Callable[[Any], bool]

RANKINGS = (
    "potential",
    "similarity",
    "evidence",
    "confidence",
    "snr",
    "fragmentation",
    "frequency",
    "normalized_entropy",
    "global_normalized_entropy",
    "itfdf_similarity",
    "confluence",
    "predictive_information",
    "bayesian_posterior",
    "bayesian_prior",
    "bayesian_likelihood",
    "tfidf_score",
    "weighted_similarity",
    "weighted_evidence",
    "weighted_confidence",
    "weighted_snr",
)
INDEXERS = ("VI", "LSH", "ANNOY", "FAISS")
STM_MODES = ("CLEAR", "ROLLING")
FILTERS = ("minhash", "length", "jaccard", "bloom", "rapidfuzz")


class InvalidSettings(Exception):
    """Settings that cannot be: `problems` maps each name to what it must be."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in problems.items()))
        self.problems = dict(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """`optional` ones have no default and show up in a config only once set."""

    name: str
    default: Any
    check: Check
    message: str
    parse: Callable[[str], Any]
    optional: bool = False


def _number(low: float, high: float) -> Check:
    return lambda v: isinstance(v, int | float) and low <= v <= high  # NaN fails every comparison


def _whole(low: int, high: float) -> Check:
    return lambda v: isinstance(v, int) and low <= v <= high


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _parse_flag(text: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    return words[text.strip().lower()]


def _parse_list(text: str) -> list[str]:
    text = text.strip()
    if text.startswith("["):
        loaded: list[str] = json.loads(text)
        return loaded
    return [word.strip() for word in text.split(",") if word.strip()]


def _ratio(name: str, default: float) -> Setting:
    return Setting(
        name=name,
        default=default,
        check=_number(0, 1),
        message="Must be a number between 0.0 and 1.0",
        parse=float,
    )


def _count(name: str, default: int, low: int, high: int) -> Setting:
    return Setting(
        name=name,
        default=default,
        check=_whole(low, high),
        message=f"Must be an integer between {low} and {high}",
        parse=int,
    )


def _switch(name: str) -> Setting:
    return Setting(
        name=name,
        default=True,
        check=_flag,
        message="Must be a boolean (true/false)",
        parse=_parse_flag,
    )


def _choice(name: str, default: str, words: tuple[str, ...]) -> Setting:
    return Setting(
        name=name,
        default=default,
        check=lambda v: isinstance(v, str) and v in words,
        message=f"Must be one of: {', '.join(words)}",
        parse=str,
    )


def _is_filters(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(v in FILTERS for v in value if isinstance(v, str))
        and (all(isinstance(v, str) for v in value))
    )


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(
            name="max_pattern_length",
            default=0,
            check=_whole(0, math.inf),
            message="Must be a non-negative integer",
            parse=int,
        ),
        _count("persistence", 5, 1, 100),
        _ratio("recall_threshold", 0.1),
        _choice("indexer_type", "VI", INDEXERS),
        _count("max_predictions", 100, 1, 10000),
        _switch("sort_symbols"),
        _switch("process_predictions"),
        _switch("use_token_matching"),
        Setting(
            name="fuzzy_token_threshold",
            default=None,
            check=_number(0, 1),
            message="Must be a number between 0.0 and 1.0",
            parse=float,
            optional=True,
        ),
        Setting(
            name="stm_mode",
            default="CLEAR",
            check=lambda v: isinstance(v, str),
            message="Must be a string",
            parse=str,
        ),
        _choice("rank_sort_algo", "potential", RANKINGS),
        Setting(
            name="affinity_emotive",
            default=None,
            check=lambda v: isinstance(v, str),
            message="Must be a string",
            parse=str,
            optional=True,
        ),
        Setting(
            name="filter_pipeline",
            default=[],
            check=_is_filters,
            message=f"Must be a list of: {', '.join(FILTERS)}",
            parse=_parse_list,
        ),
        _ratio("length_min_ratio", 0.5),
        Setting(
            name="length_max_ratio",
            default=2.0,
            check=_number(1, 1e9),
            message="Must be a number of at least 1.0",
            parse=float,
        ),
        _ratio("jaccard_threshold", 0.3),
        _count("jaccard_min_overlap", 2, 1, 1_000_000),
        _ratio("minhash_threshold", 0.7),
        _count("minhash_bands", 20, 1, 100),
        _count("minhash_rows", 5, 1, 20),
        _count("minhash_num_hashes", 100, 10, 256),
        Setting(
            name="bloom_false_positive_rate",
            default=0.01,
            check=_number(0.0001, 0.1),
            message="Must be a number between 0.0001 and 0.1",
            parse=float,
        ),
        _count("max_candidates_per_stage", 100000, 100, 1_000_000_000),
        _switch("enable_filter_metrics"),
    )
}
ALIASES = {
    "max_seq_length": "max_pattern_length",
    "max_sequence_length": "max_pattern_length",
    "sort": "sort_symbols",
}


def checked(raw: Mapping[str, Any]) -> Config:
    """The known settings of `raw` under their canonical names; unknown ones are ignored.

    Raises InvalidSettings with every problem, named as the caller named the setting. An optional
    setting of null is unset again.
    """
    problems, values = {}, {}
    for given, value in raw.items():
        setting = SETTINGS.get(ALIASES.get(given, given))
        if setting is None:
            continue
        if not setting.check(value) and not (setting.optional and value is None):
            problems[given] = setting.message
        values[setting.name] = value
    if problems:
        raise InvalidSettings(problems)
    if "stm_mode" in values and values["stm_mode"] not in STM_MODES:
        values["stm_mode"] = "CLEAR"
    return values


def effective(*layers: Mapping[str, Any]) -> Config:
    """Defaults overlaid by each layer in turn, in the contract's key order."""
    merged = {name: setting.default for name, setting in SETTINGS.items()}
    for layer in layers:
        merged.update(layer)
    return {
        name: value
        for name, value in merged.items()
        if value is not None or not SETTINGS[name].optional
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """What one process was started with."""

    instance_id: str = ""
    service_name: str = "kato"
    data_dir: Path = Path("data")
    session_store: str = ""
    session_ttl_s: int = 3600
    session_auto_extend: bool = True
    log_level: str = "INFO"
    metrics_cache_s: float = 5.0
    config: Config = field(default_factory=effective)


def from_environment(environ: Mapping[str, str]) -> ProcessSettings:
    """Settings from the environment, over those of `KATO_CONFIG_FILE`.

    Raises InvalidSettings with every problem, by variable.
    """
    problems: dict[str, str] = {}
    config = _file_config(environ.get("KATO_CONFIG_FILE", ""))
    config |= _environment_config(environ, problems)
    process = ProcessSettings(
        instance_id=environ.get("KATO_INSTANCE_ID", ""),
        service_name=environ.get("SERVICE_NAME") or "kato",
        data_dir=Path(environ.get("KATO_DATA_DIR") or "data"),
        session_store=environ.get("KATO_SESSION_STORE", ""),
        session_ttl_s=_variable(environ, problems, "SESSION_TTL", _TTL, 3600),
        session_auto_extend=_variable(environ, problems, "SESSION_AUTO_EXTEND", _SWITCH, True),
        log_level=environ.get("LOG_LEVEL", "INFO").upper(),
        metrics_cache_s=_variable(environ, problems, "METRICS_CACHE_TTL_SECONDS", _SECONDS, 5.0),
        config=effective(config),
    )
    if process.log_level not in {"TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
        problems["LOG_LEVEL"] = "Must be one of: DEBUG, INFO, WARNING, ERROR, CRITICAL"
    if problems:
        raise InvalidSettings(problems)
    return process


_TTL = _count("session_ttl", 3600, 1, 31_536_000)
_SWITCH = _switch("session_auto_extend")
_SECONDS = Setting(
    name="seconds",
    default=5.0,
    check=_number(0, 3600),
    message="Must be a number of seconds between 0 and 3600",
    parse=float,
)


def _environment_config(environ: Mapping[str, str], problems: dict[str, str]) -> Config:
    names = {**{name: name for name in SETTINGS}, **ALIASES}
    del names["sort"]  # KATO never read SORT, and a shell may well hold such a variable
    return {
        target: _variable(environ, problems, name.upper(), SETTINGS[target], None)
        for name, target in names.items()
        if environ.get(name.upper(), "") != ""
    }


def _variable(
    environ: Mapping[str, str],
    problems: dict[str, str],
    name: str,
    setting: Setting,
    default: Any,
) -> Any:
    text = environ.get(name, "")
    if text == "":
        return default
    try:
        value = setting.parse(text)
        valid = setting.check(value) and (setting.name != "stm_mode" or value in STM_MODES)
    except (ValueError, KeyError):
        valid = False
    if not valid:
        problems[name] = f"{setting.message}, not {text!r}"
        return default
    return value


def _file_config(path: str) -> Config:
    if not path:
        return {}
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidSettings({"KATO_CONFIG_FILE": f"{path}: {error.strerror}"}) from error
    import yaml

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidSettings({"KATO_CONFIG_FILE": f"{path}: {error}"}) from error
    if not isinstance(document, dict):
        raise InvalidSettings({"KATO_CONFIG_FILE": f"{path}: must be a mapping of settings"})
    return checked(document.get("settings", document))
