"""What a container of ours looks like: its request, its labels, and how they are read back. Pure.

The request is the engine's own JSON (Docker API 1.41), so that it can be read next to its manual.
"""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kato_manager.model import (
    Handle,
    Instance,
    InstanceSpec,
    Json,
    Limits,
    Status,
    spec_from_json,
    to_json,
)
from kato_manager.runtimes.base import Found, Observed, State

REGISTRY = "io.kato.registry"
HOME = "io.kato.home"
ID = "io.kato.instance.id"
NAME = "io.kato.instance.name"
GROUP = "io.kato.instance.group"
PORT = "io.kato.port"
SPEC = "io.kato.spec"
CONFIG_HASH = "io.kato.config-hash"
OPERATION = "io.kato.op"
ORIGIN = "io.kato.origin"
VERSION = "io.kato.version"
ENDPOINT = "io.kato.endpoint"  # by which address the engine was reached

_PLACEHOLDER = re.compile(r"\{(id|port|host|data|python)\}")
_STATUS_CODE = re.compile(r"Exited \((\d+)\)")
_STATES: Mapping[str, State] = {"running": "running", "paused": "running", "restarting": "running"}


def labels(instance: Instance, *, registry_id: str, home: str) -> dict[str, str]:
    """What rebuilds the registry's entry from the container alone."""
    spec = instance.spec
    return {
        **spec.labels,
        REGISTRY: registry_id,
        HOME: home,
        ID: spec.id,
        NAME: spec.name,
        GROUP: spec.group,
        PORT: str(instance.port),
        SPEC: json.dumps(to_json(spec), separators=(",", ":"), ensure_ascii=False),
        CONFIG_HASH: spec.fingerprint,
        OPERATION: instance.operation.id if instance.operation else "",
        ORIGIN: instance.origin,
        VERSION: "1",
    }


def request(instance: Instance, *, labels: Mapping[str, str], network: str) -> dict[str, Json]:
    """The body of the engine's create request."""
    spec, launch = instance.spec, instance.spec.launch
    values = {
        "id": spec.id,
        "port": str(launch.container_port),
        "host": "0.0.0.0",  # noqa: S104 - inside; outside it is published on loopback alone
        "data": launch.data_path,
        "python": "python3",
    }
    environment = {"KATO_INSTANCE_ID": spec.id, **launch.environment, **spec.env}
    port = f"{launch.container_port}/tcp"
    body: dict[str, Json] = {
        "Image": launch.image,
        "Env": [f"{name}={_filled(value, values)}" for name, value in environment.items()],
        "Labels": dict(labels),
        "ExposedPorts": {port: {}},
        "StopTimeout": math.ceil(spec.grace_s),
        "HostConfig": {
            "NetworkMode": network,
            "PortBindings": {port: [{"HostIp": "127.0.0.1", "HostPort": str(instance.port)}]},
            "RestartPolicy": {"Name": spec.restart},
            "SecurityOpt": ["no-new-privileges"],
            "Binds": [*_data_volume(spec), *spec.volumes],
            "ExtraHosts": list(spec.extra_hosts),
            "ReadonlyRootfs": launch.read_only,
            "Tmpfs": dict(_tmpfs(mount) for mount in launch.tmpfs),
            **_limits(spec.limits),
        },
    }
    if launch.args:
        body["Cmd"] = [_filled(argument, values) for argument in launch.args]
    return body


def volume_name(spec: InstanceSpec) -> str:
    """The volume that keeps an instance's data; it outlives the container."""
    return f"{spec.container}-data"


def new_name(spec: InstanceSpec) -> str:
    """What a replacement is called until the old one is gone; no id's container is called so."""
    return f"{spec.container}.new"


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)


def _data_volume(spec: InstanceSpec) -> list[str]:
    return [f"{volume_name(spec)}:{spec.launch.data_path}"] if spec.launch.data_path else []


def _tmpfs(mount: str) -> tuple[str, str]:
    path, _, options = mount.partition(":")
    return path, options


def _limits(limits: Limits) -> dict[str, Json]:
    wanted: dict[str, Json] = {}
    if limits.cpus is not None:
        wanted["NanoCpus"] = round(limits.cpus * 1e9)
    if limits.memory_bytes is not None:
        wanted["Memory"] = wanted["MemorySwap"] = limits.memory_bytes  # equal: no swap besides
    if limits.pids is not None:
        wanted["PidsLimit"] = limits.pids
    if limits.gpus:
        wanted["DeviceRequests"] = [_gpus(limits.gpus)]
    return wanted


def _gpus(wish: str) -> dict[str, Json]:
    """`--gpus` as Docker's own command reads it: `all`, a count, or `device=0,1`."""
    request: dict[str, Json] = {"Driver": "", "Capabilities": [["gpu"]]}
    if wish.startswith("device="):
        return {**request, "DeviceIDs": wish.removeprefix("device=").split(",")}
    return {**request, "Count": -1 if wish == "all" else int(wish)}


def serves(labels: Mapping[str, str], instance: Instance) -> bool:
    """Whether a container with these labels is what a start of this instance would make."""
    wanted = (instance.spec.fingerprint, str(instance.port))
    return (labels.get(CONFIG_HASH), labels.get(PORT)) == wanted


def found(summary: Mapping[str, Any]) -> Found:
    """One line of the engine's list, as what it says about the instance it was made for."""
    marks = summary["Labels"]
    created_at = datetime.fromtimestamp(summary["Created"], UTC)
    started = summary["State"] != "created"
    instance = Instance(
        spec=spec_from_json(json.loads(marks[SPEC])),
        port=int(marks[PORT]),
        status=Status.RUNNING if started else Status.STARTING,
        runtime="docker",
        origin=marks.get(ORIGIN, ""),
        created_at=created_at,
        updated_at=created_at,
    )
    code = _STATUS_CODE.search(summary["Status"])
    observed = Observed(
        state=_STATES.get(summary["State"], "exited"),
        exit_code=int(code[1]) if code else None,
        reason="" if started else "created, never started",
    )
    return Found(
        instance=instance,
        observed=observed,
        registry_id=marks[REGISTRY],
        operation_id=marks.get(OPERATION, ""),
        created_at=created_at,
    )


def observed(details: Mapping[str, Any], handle: Handle) -> Observed:
    """The engine's full answer about one container."""
    state = details["State"]
    runs = _STATES.get(state["Status"], "exited") == "running"
    return Observed(
        state="running" if runs else "exited",
        exit_code=None if runs or state["Status"] == "created" else state["ExitCode"],
        handle=handle,
        started_at=moment(state["StartedAt"]),
        reason=_reason(state),
    )


def _reason(state: Mapping[str, Any]) -> str:
    if state.get("OOMKilled"):
        return "out of memory"
    if state["Status"] == "created":
        return "created, never started"
    return str(state.get("Error") or "")


def moment(text: str) -> datetime | None:
    """An engine's time: RFC 3339 with nine digits of a second; year 1 is never."""
    if text.startswith("0001-"):
        return None
    return datetime.fromisoformat(re.sub(r"\.(\d{6})\d+", r".\1", text)).astimezone(UTC)


def is_port_conflict(explanation: str) -> bool:
    """Which of the two texts comes depends on who holds the port: a container or a process."""
    return "port is already allocated" in explanation or "address already in use" in explanation


def is_name_conflict(explanation: str) -> bool:
    return "is already in use by" in explanation and "name" in explanation
