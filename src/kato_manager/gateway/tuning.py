"""What `$KATO_HOME/config.yaml` says about the control process's timers."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from kato_manager.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Keys of config.yaml; all numbers above 0."""

    max_running: int = 0  # instances at a time, 0 is no limit; those on demand make room
    health_interval_s: float = 5.0
    restart_attempts: int = 5  # crashes in a row until it is given up
    restart_first_pause_s: float = 0.5
    restart_longest_pause_s: float = 60.0
    restart_steady_s: float = 60.0  # who lived this long did not crash in a row


def tuning_of(config: Mapping[str, Any]) -> Tuning:
    """Raises `ConfigError` naming the value that is wrong."""
    given = {one.name: config[one.name] for one in fields(Tuning) if one.name in config}
    for name, value in given.items():
        wanted = int if isinstance(getattr(Tuning(), name), int) else (int, float)
        if isinstance(value, bool) or not isinstance(value, wanted) or not value > 0:
            raise ConfigError(f"config.yaml: {name}: {value!r} is not a number above 0")
    return Tuning(**given)
