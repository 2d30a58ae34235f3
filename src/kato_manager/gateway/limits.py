"""How much and how long the gateway bears; each can be set with `--limit name=value`."""

from dataclasses import dataclass, fields

from kato_manager.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times in seconds, sizes in bytes. A stream has no total limit: only silence ends it."""

    connections: int = 8192  # of clients, per worker; beyond it they wait in the kernel's queue
    upstream_connections: int = 4096  # to one instance, per worker
    idle_upstream_connections: int = 64  # kept open to one instance
    head_bytes: int = 32 * 1024
    header_s: float = 15.0  # from the first byte of a head to its end
    idle_s: float = 75.0  # between two requests, or two parts of a request's body
    connect_s: float = 3.0
    control_s: float = 8.0  # the control process is there again, also on a busy machine
    stall_s: float = 300.0  # a client that does not take what it asked for
    idle_upstream_s: float = 4.0  # less than the 5 s after which uvicorn closes
    drain_s: float = 10.0  # what is in flight may finish when a worker ends
    wake_s: float = 120.0  # a held request waits for its instance to start


def limits_from(settings: list[str]) -> Limits:
    """Read `name=value` words; raises `ConfigError` naming the wrong one."""
    kinds = {one.name: int if one.type is int else float for one in fields(Limits)}
    values: dict[str, int | float] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in kinds:
            raise ConfigError(f"there is no limit {name!r}", hint=f"limits are: {', '.join(kinds)}")
        try:
            values[name] = kinds[name](text)
        except ValueError:
            raise ConfigError(f"limit {name}: {text!r} is not a number") from None
        if values[name] <= 0:
            raise ConfigError(f"limit {name} has to be more than 0")
    return Limits(**values)  # type: ignore[arg-type]
