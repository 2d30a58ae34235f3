"""Every setting once: name, default, what it may be. Environment, file and session config agree.

Source: KATO contract 1.4.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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

    def accepts(self, value: Any) -> bool:
        """Whether it may be this; null unsets an optional one."""
        return self.check(value) or (self.optional and value is None)


def number(low: float, high: float) -> Check:
    """Finite ones only; NaN fails every comparison."""
    return lambda v: isinstance(v, int | float) and low <= v <= high and v < math.inf


def _integer(low: int, high: float) -> Check:
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
        check=number(0, 1),
        message="Must be a number between 0.0 and 1.0",
        parse=float,
    )


def whole(name: str, default: int, low: int, high: float = math.inf) -> Setting:
    """A setting that is an integer of these bounds."""
    bounds = f"of at least {low}" if high == math.inf else f"between {low} and {high}"
    return Setting(
        name=name,
        default=default,
        check=_integer(low, high),
        message=f"Must be an integer {bounds}",
        parse=int,
    )


def switch(name: str) -> Setting:
    return Setting(
        name=name,
        default=True,
        check=_flag,
        message="Must be a boolean (true/false)",
        parse=_parse_flag,
    )


def text(name: str, default: str | None) -> Setting:
    """A setting that is any text; optional without a default."""
    return Setting(
        name=name,
        default=default,
        check=lambda v: isinstance(v, str),
        message="Must be a string",
        parse=str,
        optional=default is None,
    )


def choice(name: str, default: str, words: tuple[str, ...]) -> Setting:
    """A setting that is one of these words."""
    return Setting(
        name=name,
        default=default,
        check=lambda v: isinstance(v, str) and v in words,
        message=f"Must be one of: {', '.join(words)}",
        parse=str,
    )


def _is_filters(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) and v in FILTERS for v in value)


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(
            name="max_pattern_length",
            default=0,
            check=_integer(0, math.inf),
            message="Must be a non-negative integer",
            parse=int,
        ),
        whole("persistence", 5, 1, 100),
        _ratio("recall_threshold", 0.1),
        choice("indexer_type", "VI", INDEXERS),
        whole("max_predictions", 100, 1, 10000),
        switch("sort_symbols"),
        switch("process_predictions"),
        switch("use_token_matching"),
        Setting(
            name="fuzzy_token_threshold",
            default=None,
            check=number(0, 1),
            message="Must be a number between 0.0 and 1.0",
            parse=float,
            optional=True,
        ),
        text("stm_mode", "CLEAR"),
        choice("rank_sort_algo", "potential", RANKINGS),
        text("affinity_emotive", None),
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
            check=number(1, math.inf),
            message="Must be a number of at least 1.0",
            parse=float,
        ),
        _ratio("jaccard_threshold", 0.3),
        whole("jaccard_min_overlap", 2, 1),
        _ratio("minhash_threshold", 0.7),
        whole("minhash_bands", 20, 1, 100),
        whole("minhash_rows", 5, 1, 20),
        whole("minhash_num_hashes", 100, 10, 256),
        Setting(
            name="bloom_false_positive_rate",
            default=0.01,
            check=number(0.0001, 0.1),
            message="Must be a number between 0.0001 and 0.1",
            parse=float,
        ),
        whole("max_candidates_per_stage", 100000, 100),
        switch("enable_filter_metrics"),
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
        if not setting.accepts(value):
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
