"""An instance as JSON answers show it, whichever door asked; keys are only ever added."""

from typing import Any
from urllib.parse import quote

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
        "gateway_url": gateway_url(instance, settings),
        "runtime": instance.runtime,
        "template": spec.template,
        "group": spec.group,
        "labels": dict(spec.labels),
        "settings": dict(spec.settings),
        "reason": instance.reason,
    }


def gateway_url(instance: Instance, settings: Settings) -> str:
    """Where the gateway has it; what a path cannot hold, as a space or `?`, is escaped."""
    return f"http://localhost:{settings.gateway_port}/{quote(instance.id)}"


def details(instance: Instance) -> dict[str, Any]:
    return {
        "spec": to_json(instance.spec),
        "fingerprint": instance.spec.fingerprint,
        "handle": instance.handle,
        "origin": instance.origin,
        "created": timestamp(instance.created_at),
        "operation": instance.operation and to_json(instance.operation),
    }
