"""Reads the declaration of shared services, a part of Compose's own format."""

import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kato_manager.config.interpolate import interpolate
from kato_manager.errors import ConfigError

_KNOWN = frozenset("image container_name command environment volumes restart healthcheck".split())
_TIMING = {"interval": "Interval", "timeout": "Timeout", "start_period": "StartPeriod"}
_UNITS_NS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceHealth:
    """Healthy when `command` exits with 0 inside the container."""

    command: tuple[str, ...]
    timing_ns: Mapping[str, int] = field(default_factory=dict)  # in the engine's words


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One shared service as declared, variables filled in."""

    name: str
    image: str
    container: str
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()
    restart: str = "unless-stopped"
    health: ServiceHealth | None = None


def read(path: Path, environ: Mapping[str, str]) -> dict[str, Service]:
    """Raises `ConfigError` naming the file and the setting that is wrong."""
    import yaml

    variables = {**environ, "USER": environ.get("USER") or _account()}
    try:
        text = interpolate(path.read_text(encoding="utf-8"), variables, lambda _name: None)
        declared = yaml.safe_load(text)["services"]
        return {name: _service(path, name, entry) for name, entry in declared.items()}
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: {error}", hint=f"correct or remove {path}") from error


def _service(path: Path, name: str, entry: Mapping[str, Any]) -> Service:
    if unknown := sorted(set(entry) - _KNOWN):
        raise ConfigError(f"{path}: services.{name}.{unknown[0]}: unknown setting")
    check = entry.get("healthcheck")
    return Service(
        name=name,
        image=entry["image"],
        container=entry["container_name"],
        command=tuple(map(str, entry.get("command", ()))),
        environment={key: str(value) for key, value in entry.get("environment", {}).items()},
        volumes=tuple(entry.get("volumes", ())),
        restart=entry.get("restart", "unless-stopped"),
        health=_health(check) if check else None,
    )


def _health(check: Mapping[str, Any]) -> ServiceHealth:
    kind, *command = check["test"]
    if kind not in {"CMD", "CMD-SHELL"}:
        raise ValueError(f"healthcheck.test starts with {kind!r}, expected CMD or CMD-SHELL")
    timing = {word: _nanoseconds(check[key]) for key, word in _TIMING.items() if key in check}
    if "retries" in check:
        timing["Retries"] = int(check["retries"])
    shell = ("/bin/sh", "-c") if kind == "CMD-SHELL" else ()
    return ServiceHealth(command=(*shell, *command), timing_ns=timing)


def _nanoseconds(text: str) -> int:
    match = re.fullmatch(r"(\d+)(ms|s|m)", text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 500ms, 10s or 1m")
    return int(match[1]) * _UNITS_NS[match[2]]


def _account() -> str:
    return pwd.getpwuid(os.getuid()).pw_name
