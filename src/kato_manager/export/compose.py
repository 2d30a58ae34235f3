"""A Compose file (Compose Specification, also read by docker-compose 1.29)."""

from collections.abc import Mapping, Sequence
from typing import Any

from kato_manager.config.services import Service
from kato_manager.export import NETWORK, container, dump, environment, with_ports
from kato_manager.model import Instance, InstanceSpec, Json
from kato_manager.runtimes.container import volume_name


def compose(specs: Sequence[InstanceSpec], shared: Mapping[str, Service] | None = None) -> str:
    """The text of a compose.yaml, with those shared services that any instance needs."""
    needed = {name: one for name, one in (shared or {}).items() if _is_needed(name, specs)}
    names = [volume_name(spec) for spec in specs if spec.launch.data_path]
    volumes = [volume for spec in specs for volume in spec.volumes]
    volumes += [volume for service in needed.values() for volume in service.volumes]
    document = {
        "services": {
            **{name: _shared(service) for name, service in needed.items()},
            **{one.spec.container: _service(one, specs, needed) for one in with_ports(specs)},
        },
        "volumes": {name: {"name": name} for name in [*names, *_named(volumes)]},
        "networks": {NETWORK: {"name": NETWORK}},
    }
    return dump({key: value for key, value in document.items() if value})


def _is_needed(name: str, specs: Sequence[InstanceSpec]) -> bool:
    return any(name in spec.launch.services for spec in specs)


def _shared(service: Service) -> dict[str, Json]:
    check = {"test": ["CMD", *service.health.command]} if service.health else {}
    wanted = {
        "image": service.image,
        "container_name": service.container,
        "command": list(service.command),
        "environment": dict(service.environment),
        "volumes": list(service.volumes),
        "restart": service.restart,
        "healthcheck": check,
        "networks": [NETWORK],
    }
    return {key: _escaped(value) for key, value in wanted.items() if value}


def _service(
    instance: Instance, specs: Sequence[InstanceSpec], shared: Mapping[str, Service]
) -> dict[str, Json]:
    spec, body = instance.spec, container(instance)
    host = body["HostConfig"]
    containers = {one.id: one.container for one in specs}
    needed = [containers[one] for one in spec.depends_on if one in containers]
    needed += [name for name in spec.launch.services if name in shared]
    service = {
        "image": _escaped(spec.launch.image),
        "container_name": spec.container,
        "command": _escaped(body.get("Cmd", [])),
        "environment": _escaped(environment(body)),
        "ports": [f"127.0.0.1:{instance.port}:{spec.launch.container_port}"],
        "volumes": _escaped(host["Binds"]),
        "labels": _escaped(body["Labels"]),
        "depends_on": needed,
        "restart": spec.restart,
        "stop_grace_period": f"{body['StopTimeout']}s",
        "extra_hosts": _escaped(host["ExtraHosts"]),
        "read_only": spec.launch.read_only,
        "tmpfs": _escaped(list(spec.launch.tmpfs)),
        "pull_policy": "" if spec.pull == "missing" else spec.pull,
        "security_opt": host["SecurityOpt"],
        "networks": [NETWORK],
        **_limits(spec),
    }
    return {key: value for key, value in service.items() if value}


def _limits(spec: InstanceSpec) -> dict[str, Json]:
    limits = spec.limits
    wanted: dict[str, Json] = {
        "cpus": limits.cpus,
        "mem_limit": limits.memory_bytes,
        "pids_limit": limits.pids,
    }
    if limits.gpus:
        devices = [{"capabilities": ["gpu"], **_gpus(limits.gpus)}]
        wanted["deploy"] = {"resources": {"reservations": {"devices": devices}}}
    return wanted


def _gpus(wish: str) -> dict[str, Json]:
    if wish.startswith("device="):
        return {"device_ids": wish.removeprefix("device=").split(",")}
    return {} if wish == "all" else {"count": int(wish)}


def _named(volumes: Sequence[str]) -> list[str]:
    sources = (volume.split(":")[0] for volume in volumes)
    return [source for source in dict.fromkeys(sources) if source[:1] not in {"/", ".", "~"}]


def _escaped(value: Any) -> Any:
    """Compose would take a single dollar sign for a variable."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        return {key: _escaped(one) for key, one in value.items()}
    return [_escaped(one) for one in value]
