"""What `$KATO_HOME/config.yaml` says about the control process's timers."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from kato_manager.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Keys of config.yaml; numbers, above 0 but for `max_running`."""

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
        is_number = isinstance(value, wanted) and not isinstance(value, bool)
        if not is_number or not value >= 0 or (not value and name != "max_running"):
            kind = "whole number" if wanted is int else "number"
            raise ConfigError(f"config.yaml: {name}: {value!r} is not a {kind} above 0")
    return Tuning(**given)
