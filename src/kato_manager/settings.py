"""What the environment and `$KATO_HOME/config.yaml` say; the only place that reads either."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kato_manager import names
from kato_manager.errors import ConfigError

DEFAULT_GATEWAY_PORT = 8000
DEFAULT_PORTS = range(8001, 9000)
RUNTIMES = ("auto", "local", "docker")

# Keys of config.yaml that others read, from `Settings.config`.
OTHER_KEYS = frozenset(
    {
        "sessions",
        "max_running",
        "health_interval_s",
        "restart_attempts",
        "restart_first_pause_s",
        "restart_longest_pause_s",
        "restart_steady_s",
    }
)
_VARIABLES = {
    "gateway_port": "KATO_GATEWAY_PORT",
    "port_range": "KATO_PORT_RANGE",
    "runtime": "KATO_RUNTIME",
    "lock_timeout_s": "KATO_LOCK_TIMEOUT",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What holds for every command; precedence: flag > environment > config.yaml > default."""

    home: Path
    gateway_port: int = DEFAULT_GATEWAY_PORT
    ports: range = DEFAULT_PORTS
    runtime: str = "auto"
    lock_timeout_s: float = 30.0
    config: Mapping[str, Any] = field(default_factory=dict)  # the whole of config.yaml

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Without config.yaml: for commands that must be quick and need no default from it."""
        return cls._from(environ, {})

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """With the user's config.yaml; raises `ConfigError` naming the value that is wrong."""
        return cls._from(environ, _user_config(_home(environ) / "config.yaml"))

    @classmethod
    def _from(cls, environ: Mapping[str, str], config: Mapping[str, Any]) -> "Settings":
        texts = {key: str(config[key]) for key in _VARIABLES if config.get(key) is not None}
        origins = dict.fromkeys(texts, "config.yaml")
        for key, variable in _VARIABLES.items():
            if environ.get(variable):
                texts[key], origins[key] = environ[variable], variable
        values: dict[str, Any] = {"home": _home(environ), "config": config}
        for key, text in texts.items():
            name = "ports" if key == "port_range" else key
            values[name] = _READERS[key](text, origins[key])
        return cls(**values)


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("KATO_HOME") or "~/.kato").expanduser().absolute()


def _user_config(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        return {}
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}", hint=f"correct or remove {path}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected keys and values", hint=f"correct or remove {path}")
    _refuse_misspelt(content, text, path)
    return content


def _refuse_misspelt(content: Mapping[Any, Any], text: str, path: Path) -> None:
    """A key that is nearly one of ours would have no effect; other tools' keys are theirs."""
    known = {*_VARIABLES, *OTHER_KEYS}
    for key in map(str, content):
        if key not in known and (meant := names.closest(key, known - content.keys())):
            lines = [n for n, line in enumerate(text.splitlines(), 1) if line.startswith(key)]
            place = f"{path.name}:{lines[0]}:1" if lines else path.name
            raise ConfigError(
                f'{place}: {key}: unknown setting, did you mean "{meant}"?', hint=f"correct {path}"
            )


def _port(text: str, origin: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 65535:  # noqa: PLR2004
        return int(text)
    raise ConfigError(f"{origin}: {text!r} is not a port, ports are 1 to 65535")


def _port_range(text: str, origin: str) -> range:
    first, separator, last = text.partition("-")
    ports = range(_port(first.strip(), origin), _port((last or first).strip(), origin) + 1)
    if ports and (separator or not last):
        return ports
    raise ConfigError(f"{origin}: {text!r} is not a range of ports", hint=f"{origin}=8001-8999")


def _runtime(text: str, origin: str) -> str:
    if text in RUNTIMES:
        return text
    raise ConfigError(f"{origin}: {text!r} is not a runtime, it is one of {', '.join(RUNTIMES)}")


def _seconds(text: str, origin: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if 0 <= seconds < float("inf"):
        return seconds
    raise ConfigError(f"{origin}: {text!r} is not a number of seconds")


_READERS = {
    "gateway_port": _port,
    "port_range": _port_range,
    "runtime": _runtime,
    "lock_timeout_s": _seconds,
}
