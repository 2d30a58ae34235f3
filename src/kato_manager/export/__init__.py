"""The same instances in the files of other tools: Compose, Kubernetes, systemd."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from kato_manager.errors import ConfigError
from kato_manager.model import Instance, InstanceSpec, Json
from kato_manager.runtimes.container import request

NETWORK = "kato-network"
FIRST_PORT = 8001


def with_ports(specs: Sequence[InstanceSpec]) -> list[Instance]:
    """Each with its own port: the asked one, else the next free from 8001, in the file's order."""
    taken = {spec.port for spec in specs}
    free = (port for port in range(FIRST_PORT, 65536) if port not in taken)
    now = datetime.now(UTC)
    return [
        Instance(
            spec=spec,
            port=spec.port or next(free),
            runtime="docker",
            created_at=now,
            updated_at=now,
        )
        for spec in specs
    ]


def container(instance: Instance) -> Mapping[str, Json]:
    """What our own engine runtime would ask of the engine; `ConfigError` without an image."""
    if not instance.spec.launch.image:
        raise ConfigError(
            f"instance {instance.id!r} has no image, so it cannot be a container",
            hint="give it one, image: NAME, or a profile that is not exported",
        )
    return request(instance, labels=instance.spec.labels, network=NETWORK)


def environment(body: Mapping[str, Json]) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in body["Env"])


def dump(*documents: Json) -> str:
    """YAML that any parser reads as it was meant."""
    import yaml

    return yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=100)
