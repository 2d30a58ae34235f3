"""What was asked for (`InstanceSpec`) and what is recorded (`Instance`), as plain frozen values.

The constraints in the types are checked once, at the doors (`config.parse`); code behind them may
rely on every value. Mappings inside a value are never changed after it is made.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Unit

from kato_manager import names

Port = Annotated[int, Ge(1024), Le(65535)]
Seconds = Annotated[float, Ge(0), Unit("s")]
Json = Any  # a value as JSON knows it
Verb = Literal["start", "stop", "restart", "replace"]
Handle = Mapping[str, Json]  # an engine's own record of what it runs; only that engine reads it


class Status(StrEnum):
    """A recorded fact. What an engine says now is `runtimes.base.Observed`, never stored here."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one instance may use of the machine; None is no limit."""

    cpus: Annotated[float, Gt(0)] | None = None
    memory_bytes: Annotated[int, Ge(6 * 1024 * 1024), Unit("B")] | None = None
    pids: Annotated[int, Ge(1)] | None = None
    gpus: str = ""  # "all", a count, or device ids: "device=0,1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How to ask whether it serves: GET `path` on its port must answer 2xx.

    `identity` names the key of the JSON answer that must equal the instance id, so that a stranger
    on the port is never taken for the instance; empty where the program cannot tell.
    """

    path: str = "/health"
    identity: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to run it: the template's words, filled in for one instance.

    `{id} {port} {fd} {host} {data} {python}` in `command`, `args` and `environment` are replaced
    by the runtime at every start, since only then they are known.
    """

    image: str = ""
    command: tuple[str, ...] = ()  # argv of a local process; empty: cannot run without an engine
    args: tuple[str, ...] = ()  # replaces the image's own command; empty: leaves it
    environment: Mapping[str, str] = field(default_factory=dict)  # settings included
    listen: Literal["fd", "port"] = "port"  # "fd": a local process takes the listening socket
    container_port: Annotated[int, Ge(1), Le(65535)] = 8000
    data_path: str = ""  # where a container keeps what must outlive it; empty: nothing
    health: Health = Health()
    services: tuple[str, ...] = ()
    read_only: bool = False
    tmpfs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSpec:
    """What the user asked for, complete: it can be started again without its template or file."""

    id: str
    name: str = "KatoProcessor"
    template: str = "kato"
    runtime: Literal["auto", "local", "docker"] = "auto"
    port: Port | None = None
    strict_port: bool = False
    settings: Mapping[str, Json] = field(default_factory=dict)  # canonical names, defaults included
    env: Mapping[str, str] = field(default_factory=dict)  # the user's own; beats launch.environment
    group: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    limits: Limits = Limits()
    volumes: tuple[str, ...] = ()  # engine syntax: source:target[:ro]
    extra_hosts: tuple[str, ...] = ()  # engine syntax: name:address
    restart: Literal["no", "on-failure", "always", "unless-stopped"] = "no"
    pull: Literal["always", "missing", "never"] = "missing"
    prefix: Literal["strip", "keep"] = "strip"
    start: Literal["eager", "on-demand"] = "eager"
    idle_timeout_s: Annotated[float, Gt(0), Unit("s")] | None = None
    grace_s: Seconds = 10.0
    ready_timeout_s: Annotated[float, Gt(0), Unit("s")] = 60.0
    launch: Launch = Launch()

    @property
    def container(self) -> str:
        """The name of the container, and of the folder below `KATO_HOME/instances`."""
        return names.container_name(self.id)

    @property
    def fingerprint(self) -> str:
        """Hash of what requires a restart when it changes; equal specs have equal fingerprints."""
        wanted = {key: value for key, value in to_json(self).items() if key in _RESTART_FIELDS}
        text = json.dumps(wanted, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_RESTART_FIELDS = frozenset(
    "template settings env limits volumes extra_hosts restart launch".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Who is changing this instance right now; a dead owner's operation is for others to settle."""

    id: str
    verb: Verb
    pid: int
    started: str  # identity of that process: start ticks and boot id
    since: datetime
    replaces: Handle | None = None  # what still has to end once the new one serves
    keep: str = ""  # of a stop: why the entry stays, stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """What is recorded about one instance."""

    spec: InstanceSpec
    port: int
    status: Status = Status.STARTING
    runtime: str = ""
    handle: Handle | None = None
    operation: Operation | None = None
    origin: str = ""  # the file that made it, for `apply --prune`; empty: typed by hand
    reason: str = ""  # why it is `failed` or `stopped`, in the user's words
    created_at: datetime
    updated_at: datetime

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_live(self) -> bool:
        """Recorded as something that should answer."""
        return self.status in {Status.STARTING, Status.RUNNING, Status.STOPPING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One value that differs between two specs; `name` as the user writes it."""

    name: str
    old: Json
    new: Json
    needs_restart: bool

    def __str__(self) -> str:
        return f"{self.name} {_shown(self.old)} -> {_shown(self.new)}"


def differences(recorded: InstanceSpec, wanted: InstanceSpec) -> tuple[Difference, ...]:
    """What changes when `wanted` takes the place of `recorded`, settings and env key by key.

    A wanted port or runtime that is left open agrees with whatever is recorded.
    """
    return tuple(_differences(recorded, wanted))


def described(changes: Iterable[Difference], template: str) -> str:
    """Differences in the user's terms; the environment only repeats the settings."""
    said = [str(one).removeprefix("launch.") for one in changes if one.name != "launch.environment"]
    return ", ".join(said) or f"template {template} has changed"


def _differences(recorded: InstanceSpec, wanted: InstanceSpec) -> Iterator[Difference]:
    for one in dataclasses.fields(InstanceSpec):
        old, new = getattr(recorded, one.name), getattr(wanted, one.name)
        if old == new or one.name in {"id", "strict_port"}:
            continue
        if (one.name == "port" and new is None) or (one.name == "runtime" and new == "auto"):
            continue
        restart = one.name in _RESTART_FIELDS or one.name in {"port", "runtime"}
        for name, was, becomes in _parts(one.name, old, new):
            yield Difference(name=name, old=was, new=becomes, needs_restart=restart)


def _parts(name: str, old: Json, new: Json) -> Iterator[tuple[str, Json, Json]]:
    """A difference of two containers as differences of their items."""
    if dataclasses.is_dataclass(old):
        old, new = to_json(old), to_json(new)
    if not isinstance(old, Mapping):
        yield name, old, new
        return
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            yield key if name == "settings" else f"{name}.{key}", old.get(key), new.get(key)


def _shown(value: Json) -> str:
    if value is None:
        return "unset"
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def to_json(value: Any) -> dict[str, Json]:
    """A value of this module as JSON data, without what equals the default."""
    return {
        one.name: _jsonable(getattr(value, one.name))
        for one in dataclasses.fields(value)
        if getattr(value, one.name) != _default(one)
    }


def _jsonable(value: Any) -> Json:
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if isinstance(value, datetime):
        return timestamp(value)
    return list(value) if isinstance(value, tuple) else value


def _default(one: "dataclasses.Field[Any]") -> Any:
    if one.default_factory is dataclasses.MISSING:
        return one.default
    return one.default_factory()


def spec_from_json(data: Mapping[str, Json], **given: Any) -> InstanceSpec:
    """The inverse of `to_json`; unknown keys are ignored, `given` beats the data."""
    launch = data.get("launch", {})
    return InstanceSpec(
        **{
            **_known(InstanceSpec, data),
            "limits": Limits(**_known(Limits, data.get("limits", {}))),
            "launch": Launch(
                **{**_known(Launch, launch), "health": Health(**launch.get("health", {}))}
            ),
            **given,
        }
    )


def instance_from_json(data: Mapping[str, Json]) -> Instance:
    """The inverse of `to_json` for an instance, as engines keep it in labels and folders."""
    operation = data.get("operation")
    return Instance(
        **{
            **_known(Instance, data),
            "spec": spec_from_json(data["spec"]),
            "status": Status(data.get("status", Status.STARTING)),
            "operation": operation and operation_from_json(operation),
            "created_at": moment(data["created_at"]),
            "updated_at": moment(data["updated_at"]),
        }
    )


def operation_from_json(data: Mapping[str, Json]) -> Operation:
    return Operation(**{**_known(Operation, data), "since": moment(data["since"])})


def _known(kind: type, data: Mapping[str, Json]) -> dict[str, Any]:
    known = {one.name for one in dataclasses.fields(kind)}
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in data.items()
        if key in known
    }


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, as everything is stored."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def now() -> datetime:
    """The present to the millisecond, as it is stored: what is recorded is read back equal."""
    present = datetime.now(UTC)
    return present.replace(microsecond=present.microsecond // 1000 * 1000)


def moment(text: str) -> datetime:
    """Read a stored time; one without a zone, as the guide's file has it, is local time."""
    return datetime.fromisoformat(text).astimezone(UTC)


def touched(instance: Instance, **changes: Any) -> Instance:
    """The instance with changes, updated now."""
    return dataclasses.replace(instance, **{"updated_at": now(), **changes})
