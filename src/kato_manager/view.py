"""An instance as JSON answers show it, whichever door asked; keys are only ever added."""

from typing import Any

from kato_manager.model import Instance, timestamp, to_json
from kato_manager.settings import Settings


def summary(instance: Instance, word: str, settings: Settings) -> dict[str, Any]:
    """What a list shows of it; `word` is its state as observed."""
    spec = instance.spec
    return {
        "id": instance.id,
        "name": spec.name,
        "container": spec.container,
        "api_port": instance.port,
        "status": word,
        "updated": timestamp(instance.updated_at),
        "url": instance.url,
        "gateway_url": f"http://localhost:{settings.gateway_port}/{instance.id}",
        "runtime": instance.runtime,
        "template": spec.template,
        "group": spec.group,
        "labels": dict(spec.labels),
        "settings": dict(spec.settings),
        "reason": instance.reason,
    }


def details(instance: Instance) -> dict[str, Any]:
    return {
        "spec": to_json(instance.spec),
        "fingerprint": instance.spec.fingerprint,
        "handle": instance.handle,
        "origin": instance.origin,
        "created": timestamp(instance.created_at),
        "operation": instance.operation and to_json(instance.operation),
    }
