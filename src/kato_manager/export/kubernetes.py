"""Kubernetes manifests: per instance a Deployment, a Service and a claim for its data."""

import hashlib
import ipaddress
import json
import re
from collections.abc import Iterator, Mapping, Sequence

from kato_manager.export import container, dump, environment, with_ports
from kato_manager.model import Instance, InstanceSpec, Json

MAX_NAME = 52  # room for the suffixes that controllers append within 63
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_KEY = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def kubernetes(specs: Sequence[InstanceSpec], *, storage: str = "1Gi") -> str:
    """The text of the manifests; `storage` is what each claim asks for."""
    documents = [one for i in with_ports(specs) for one in _manifests(i, storage)]
    return dump(*documents)


def object_name(spec: InstanceSpec) -> str:
    """A DNS label: `kato-<id>` for a clean lower-case id, else with a hash, so none collide."""
    clean = re.sub(r"[^a-z0-9]+", "-", spec.container.lower()).strip("-")
    if clean == spec.container and len(clean) <= MAX_NAME:
        return clean
    digest = hashlib.sha256(spec.id.encode()).hexdigest()[:8]
    return f"{clean[: MAX_NAME - 9].rstrip('-')}-{digest}"


def _manifests(instance: Instance, storage: str) -> Iterator[dict[str, Json]]:
    spec, name = instance.spec, object_name(instance.spec)
    selector = {"app.kubernetes.io/name": "kato", "app.kubernetes.io/instance": name}
    metadata = {
        "name": name,
        "labels": {**selector, **_labels(spec)},
        "annotations": {"io.kato/id": spec.id, "io.kato/labels": json.dumps(dict(spec.labels))},
    }
    if spec.launch.data_path:
        yield _claim(f"{name}-data", metadata, storage)
    for source in _claimed(spec):
        yield _claim(_volume_name(source), metadata, storage)
    pod = {"metadata": {"labels": selector}, "spec": _pod(instance, name)}
    yield {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 1,
            # The data belongs to one process at a time.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": selector},
            "template": pod,
        },
    }
    port = {"name": "http", "port": instance.port, "targetPort": spec.launch.container_port}
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": selector, "ports": [port]},
    }


def _claim(name: str, metadata: Mapping[str, Json], storage: str) -> dict[str, Json]:
    requests = {"requests": {"storage": storage}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {**metadata, "name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": requests},
    }


def _pod(instance: Instance, name: str) -> dict[str, Json]:
    spec, body = instance.spec, container(instance)
    mounts = list(_mounts(spec, name))
    health = {"path": spec.launch.health.path, "port": spec.launch.container_port}
    wanted = {
        "name": "processor",
        "image": spec.launch.image,
        "imagePullPolicy": {"always": "Always", "never": "Never"}.get(spec.pull, "IfNotPresent"),
        "args": [_escaped(one) for one in body.get("Cmd", [])],
        "env": [{"name": n, "value": _escaped(v)} for n, v in environment(body).items()],
        "ports": [{"name": "http", "containerPort": spec.launch.container_port}],
        "readinessProbe": {"httpGet": health, "periodSeconds": 2},
        "resources": _resources(spec),
        "securityContext": _security(spec),
        "volumeMounts": [mount for mount, _ in mounts],
    }
    pod = {
        "containers": [{key: value for key, value in wanted.items() if value}],
        "terminationGracePeriodSeconds": body["StopTimeout"],
        "hostAliases": list(_host_aliases(spec)),
        "volumes": [volume for _, volume in mounts],
    }
    return {key: value for key, value in pod.items() if value}


def _mounts(spec: InstanceSpec, name: str) -> Iterator[tuple[Json, Json]]:
    """Each mount with the volume it takes."""
    if spec.launch.data_path:
        claim = {"persistentVolumeClaim": {"claimName": f"{name}-data"}}
        yield {"name": "data", "mountPath": spec.launch.data_path}, {"name": "data", **claim}
    for number, path in enumerate(spec.launch.tmpfs):
        volume = {"name": f"tmpfs-{number}", "emptyDir": {"medium": "Memory"}}
        yield {"name": volume["name"], "mountPath": path.split(":")[0]}, volume
    for number, text in enumerate(spec.volumes):
        source, target, *options = text.split(":")
        mount = {"name": f"volume-{number}", "mountPath": target, "readOnly": "ro" in options}
        yield mount, {"name": mount["name"], **_volume(source)}


def _volume(source: str) -> dict[str, Json]:
    if source.startswith("/"):
        return {"hostPath": {"path": source}}
    return {"persistentVolumeClaim": {"claimName": _volume_name(source)}}


def _claimed(spec: InstanceSpec) -> list[str]:
    sources = (volume.split(":")[0] for volume in spec.volumes)
    return [source for source in sources if not source.startswith("/")]


def _volume_name(source: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", source.lower()).strip("-")[:MAX_NAME] or "volume"


def _resources(spec: InstanceSpec) -> dict[str, Json]:
    limits: dict[str, Json] = {}
    if spec.limits.cpus is not None:
        limits["cpu"] = f"{spec.limits.cpus:g}"
    if spec.limits.memory_bytes is not None:
        limits["memory"] = str(spec.limits.memory_bytes)
    if spec.limits.gpus:
        limits["nvidia.com/gpu"] = spec.limits.gpus if spec.limits.gpus.isdigit() else "1"
    return {"limits": limits} if limits else {}


def _security(spec: InstanceSpec) -> dict[str, Json]:
    read_only = {"readOnlyRootFilesystem": True} if spec.launch.read_only else {}
    return {"allowPrivilegeEscalation": False, **read_only}


def _host_aliases(spec: InstanceSpec) -> Iterator[Json]:
    """Names for addresses; the engine's word `host-gateway` has no counterpart here."""
    for text in spec.extra_hosts:
        name, _, address = text.partition(":")
        try:
            yield {"ip": str(ipaddress.ip_address(address)), "hostnames": [name]}
        except ValueError:
            continue


def _labels(spec: InstanceSpec) -> dict[str, str]:
    """Those labels of the user that Kubernetes allows; the annotation holds all of them."""
    group = {"io.kato/group": spec.group} if _LABEL_VALUE.fullmatch(spec.group or "-") else {}
    allowed = {
        key: value
        for key, value in spec.labels.items()
        if _LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(value)
    }
    return {**allowed, **group}


def _escaped(text: str) -> str:
    """Kubernetes expands `$(NAME)` in arguments and values."""
    return text.replace("$(", "$$(")
