"""What a process is started with: environment variables, over a file of settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kato_processor.settings import (
    ALIASES,
    SETTINGS,
    STM_MODES,
    Config,
    InvalidSettings,
    Setting,
    choice,
    effective,
    number,
    switch,
    text,
    whole,
)

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "TRACE")
_OF_THE_PROCESS = (
    text("service_name", "kato"),
    whole("session_ttl", 3600, 60, 86_400),
    switch("session_auto_extend"),
    replace(choice("log_level", "INFO", _LEVELS), parse=str.upper),
    Setting(
        name="metrics_cache_ttl_seconds",
        default=5.0,
        check=number(0, 3600),
        message="Must be a number of seconds between 0 and 3600",
        parse=float,
    ),
)
_KNOWN = SETTINGS | {setting.name: setting for setting in _OF_THE_PROCESS}
_KNOWN["stm_mode"] = choice("stm_mode", "CLEAR", STM_MODES)  # only KATO's config call is lax


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
    workers: int = 1
    config: Config = field(default_factory=effective)


def from_environment(environ: Mapping[str, str]) -> ProcessSettings:
    """Settings from the environment, over those of `KATO_CONFIG_FILE`.

    The file may hold every setting of the environment, in lower case. Raises InvalidSettings with
    every problem, by variable or by file and setting.
    """
    problems: dict[str, str] = {}
    values = _from_file(environ.get("KATO_CONFIG_FILE", ""), problems)
    values |= _from_variables(environ, problems)
    if problems:
        raise InvalidSettings(problems)
    process = {it.name: values.pop(it.name, it.default) for it in _OF_THE_PROCESS}
    return ProcessSettings(
        instance_id=environ.get("KATO_INSTANCE_ID", ""),
        service_name=process["service_name"],
        data_dir=Path(environ.get("KATO_DATA_DIR") or "data"),
        session_store=environ.get("KATO_SESSION_STORE", ""),
        session_ttl_s=process["session_ttl"],
        session_auto_extend=process["session_auto_extend"],
        log_level=process["log_level"],
        metrics_cache_s=process["metrics_cache_ttl_seconds"],
        config=effective(values),
    )


def _from_variables(environ: Mapping[str, str], problems: dict[str, str]) -> Config:
    values: Config = {}
    for name in (*_KNOWN, *ALIASES):
        variable = name.upper()
        given = environ.get(variable, "")
        if given == "" or variable == "SORT":  # KATO never read SORT, a shell may well hold one
            continue
        setting = _KNOWN[ALIASES.get(name, name)]
        value = _parsed(setting, given)
        if not setting.check(value):
            problems[variable] = f"{setting.message}, not {given!r}"
        values[setting.name] = value
    return values


def _parsed(setting: Setting, given: str) -> Any:
    try:
        return setting.parse(given)
    except (ValueError, KeyError):
        return None  # which no check lets pass


def _from_file(path: str, problems: dict[str, str]) -> Config:
    document = _document(path) if path else {}
    values: Config = {}
    for name, value in document.get("settings", document).items():
        setting = _KNOWN.get(ALIASES.get(name, name))
        if setting is None:
            continue
        if not setting.accepts(value):
            problems[f"{path}: {name}"] = f"{setting.message}, not {value!r}"
        values[setting.name] = value
    return values


def _document(path: str) -> Config:
    import yaml

    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise _unreadable(path, str(error.strerror)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _unreadable(path, str(error)) from error
    if not isinstance(document, dict) or not isinstance(document.get("settings", {}), dict):
        raise _unreadable(path, "must be a mapping of settings")
    return document


def _unreadable(path: str, problem: str) -> InvalidSettings:
    return InvalidSettings({"KATO_CONFIG_FILE": f"{path}: {problem}"})
