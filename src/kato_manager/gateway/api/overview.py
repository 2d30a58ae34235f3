"""`/api/templates`, `/api/groups`, `/api/stats`, and the gateway's own `/status`."""

import os
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from kato_manager import liveness, templates
from kato_manager.errors import ConfigError
from kato_manager.gateway import stats
from kato_manager.gateway.api.context import Context, context_of
from kato_manager.gateway.problems import Problem
from kato_manager.model import Status

router = APIRouter(tags=["overview"])

Here = Annotated[Context, Depends(context_of)]
_BEGUN_S = time.monotonic()


@router.get("/api/templates")
def list_templates(here: Here) -> dict[str, Any]:
    """The kinds of processors there are; one that cannot be read says why."""
    home = here.manager.settings.home
    return {"version": 1, "templates": [_entry(here, name) for name in templates.available(home)]}


@router.get("/api/templates/{name}")
def get_template(here: Here, name: str) -> dict[str, Any]:
    """One kind of processor with its settings."""
    known = templates.available(here.manager.settings.home)
    if name not in known:
        raise Problem(
            status=404,
            code="template_not_found",
            detail=f"no template {name!r}",
            hint=f"there are: {', '.join(known)}",
        )
    template = templates.load(name, home=here.manager.settings.home)
    settings = {
        one.name: {
            "type": one.type,
            "default": one.default,
            "minimum": one.minimum,
            "maximum": one.maximum,
            "choices": list(one.choices),
            "aliases": list(one.aliases),
            "help": one.help,
        }
        for one in template.settings.values()
    }
    shown = {"name": name, "description": template.description, "settings": settings}
    return {"version": 1, "template": shown}


def _entry(here: Context, name: str) -> dict[str, Any]:
    try:
        template = templates.load(name, home=here.manager.settings.home)
    except ConfigError as error:
        return {"name": name, "description": "", "settings": [], "problem": error.message}
    return {
        "name": name,
        "description": template.description,
        "settings": list(template.settings),
        "problem": "",
    }


@router.get("/api/groups")
def list_groups(here: Here) -> dict[str, Any]:
    """Each group with its members; `/<group>/...` reaches those that run."""
    instances = here.manager.registry.read()
    states = liveness.words(instances)
    members: dict[str, list[dict[str, Any]]] = {}
    for one, instance in instances.items():
        if instance.spec.group:
            members.setdefault(instance.spec.group, []).append({"id": one, "status": states[one]})
    port = here.settings().gateway_port
    shown = [
        {"id": one, "instances": several, "gateway_url": f"http://localhost:{port}/{one}"}
        for one, several in members.items()
    ]
    return {"version": 1, "groups": shown}


@router.get("/api/stats")
def get_stats(here: Here) -> dict[str, Any]:
    """What each instance uses and has answered; an engine that is silent leaves null."""
    return stats.document(here.manager, here.counted())


@router.get("/status")
def status(here: Here) -> dict[str, Any]:
    """How the gateway is."""
    instances = here.manager.registry.read()
    recorded = [instances[one].status for one in instances]
    settings = here.settings()
    return {
        "status": "ok",
        "pid": os.getpid(),
        "uptime_s": round(time.monotonic() - _BEGUN_S, 3),
        "url": f"http://localhost:{settings.gateway_port}",
        "instances": {str(one): recorded.count(one) for one in Status if one in recorded},
        "unhealthy": dict(here.keeper.health.problems),
    }


@router.get("/health", include_in_schema=False)
def health() -> dict[str, str]:
    """Fronts answer this by themselves; here it is for whoever is on the socket."""
    return {"status": "ok"}
