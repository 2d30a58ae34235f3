"""What a process is started with: environment variables, over a file of settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kato_processor.settings import (
    ALIASES,
    SETTINGS,
    STM_MODES,
    Config,
    InvalidSettings,
    Setting,
    checked,
    effective,
    number,
    switch,
    whole,
)


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


_TTL = whole("session_ttl", 3600, 60, 86_400)
_SWITCH = switch("session_auto_extend")
_SECONDS = Setting(
    name="seconds",
    default=5.0,
    check=number(0, 3600),
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
