"""`/api/instances`: the verbs of the command line, with its validation, texts and JSON."""

import os
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from kato_manager import liveness, names, templates
from kato_manager.config.parse import override, parse_spec
from kato_manager.config.template import Template
from kato_manager.errors import ConfigError, InstanceExists
from kato_manager.gateway.api.access import may_change
from kato_manager.gateway.api.bodies import described, json_object
from kato_manager.gateway.api.context import Context, context_of
from kato_manager.manager import Manager
from kato_manager.model import Instance, InstanceSpec
from kato_manager.selection import select
from kato_manager.view import details, summary

router = APIRouter(prefix="/api/instances", tags=["instances"])

Here = Annotated[Context, Depends(context_of)]
Body = Annotated[dict[str, Any], Depends(json_object)]
Wait = Annotated[bool, Query(description="Answer when it is ready, or at once.")]
Seconds = Annotated[float | None, Query(ge=0, le=86_400, allow_inf_nan=False)]
Words = Annotated[list[str], Query(description="`key` or `key=value`.")]
_SECRET = "***"  # noqa: S105 - what is shown in place of one

SPEC = described(
    "The keys of an instance in a file: id, template, port, settings, env, restart, start ...",
    {"id": "a", "settings": {"recall_threshold": 0.3}, "restart": "on-failure"},
)
CHANGES = described(
    "What changes; the rest stays as recorded.", {"settings": {"recall_threshold": 0.4}}
)


@router.get("")
def list_instances(here: Here, group: Words = [], label: Words = []) -> dict[str, Any]:  # noqa: B006 - FastAPI copies it
    """What `kato list --format json` prints."""
    chosen = select(here.manager.registry.read(), groups=group, labels=label)
    states = liveness.words({one.id: one for one in chosen})
    settings = here.settings()
    shown = [summary(one, states[one.id], settings) for one in chosen]
    return {"version": 1, "instances": shown}


@router.post("", status_code=201, openapi_extra=SPEC)
def start_new(
    here: Here,
    response: Response,
    raw: Body,
    *,
    wait: Wait = True,
    timeout_s: Seconds = None,
) -> dict[str, Any]:
    """Start an instance as `kato start` does; 200 when it was recorded before.

    With `start: on-demand` it is declared only, and its first request starts it.
    """
    raw = dict(raw)
    given = raw.get("id")
    recorded = here.manager.registry.read().get(given) if isinstance(given, str) else None
    template = _template(here, raw, recorded)
    if "id" in raw:
        spec = _spec(raw, template, recorded.spec if recorded else None)
        instance = _begin(here.manager, spec, recorded, wait=wait, timeout_s=timeout_s)
    else:
        instance = _start_unnamed(here.manager, raw, template, wait=wait, timeout_s=timeout_s)
    response.status_code = 200 if recorded else 201
    return _shown(here, instance)


@router.get("/{word}")
def get_instance(here: Here, request: Request, word: str) -> dict[str, Any]:
    """What `kato inspect` prints; values of `env` only for those who may change them."""
    instance = one(here.manager, word)
    (seen,) = here.manager.status([instance])
    rest = details(instance)
    if not may_change(request, here.token) and "env" in rest["spec"]:
        rest["spec"]["env"] = dict.fromkeys(rest["spec"]["env"], _SECRET)
    shown = {**summary(instance, seen.word, here.settings()), **rest}
    return {"version": 1, "instance": shown}


@router.post("/{word}/start")
def start_recorded(
    here: Here, word: str, *, wait: Wait = True, timeout_s: Seconds = None
) -> dict[str, Any]:
    """Start what is recorded and does not run; starting what runs is success."""
    instance = one(here.manager, word)
    started = here.manager.start(
        instance.spec, wait=wait, timeout_s=timeout_s, origin=instance.origin
    )
    return _shown(here, started)


@router.post("/{word}/restart", openapi_extra=CHANGES)
def restart(
    here: Here, word: str, raw: Body, *, wait: Wait = True, timeout_s: Seconds = None
) -> dict[str, Any]:
    """Stop and start it with what is recorded, changed by the body."""
    instance = one(here.manager, word)
    spec = None
    if raw:
        template = templates.load(instance.spec.template, home=here.manager.settings.home)
        spec = _spec({**raw, "id": instance.id}, template, instance.spec)
    restarted = here.manager.restart(instance.id, spec=spec, wait=wait, timeout_s=timeout_s)
    return _shown(here, restarted)


@router.post("/{word}/stop")
def stop(here: Here, word: str, *, grace_s: Seconds = None, purge: bool = False) -> dict[str, Any]:
    """Stop it and remove its entry; its data stays unless purged."""
    instance = one(here.manager, word)
    here.manager.stop(instance.id, grace_s=grace_s, purge=purge)
    return {"version": 1, "stopped": [instance.id]}


@router.delete("/{word}")
def delete(
    here: Here, word: str, *, grace_s: Seconds = None, purge: bool = False
) -> dict[str, Any]:
    """The same as stop."""
    return stop(here, word, grace_s=grace_s, purge=purge)


def one(manager: Manager, word: str) -> Instance:
    """The instance of this id or name; a pattern is only looked for as it stands."""
    instances = manager.registry.read()
    if names.is_pattern(word):
        instances = {one: i for one, i in instances.items() if word in {one, i.spec.name}}  # type: ignore[assignment]
    return select(instances, [word])[0]


def _template(here: Context, raw: dict[str, Any], recorded: Instance | None) -> Template:
    kind = raw.pop("template", None)
    if kind is None:
        kind = recorded.spec.template if recorded else templates.DEFAULT
    if not isinstance(kind, str):
        raise ConfigError("template: expected the name of a template")
    return templates.load(kind, home=here.manager.settings.home)


def _spec(raw: dict[str, Any], template: Template, recorded: InstanceSpec | None) -> InstanceSpec:
    if recorded is None:
        return parse_spec(raw, template)
    return override(recorded, {**raw, "id": recorded.id}, template)


def _begin(manager: Manager, spec: InstanceSpec, recorded: Instance | None, **how: Any) -> Instance:
    origin = recorded.origin if recorded else ""
    if spec.start == "on-demand":
        return manager.declare(spec, origin=origin)
    return manager.start(spec, origin=origin, **how)


def _start_unnamed(
    manager: Manager, raw: dict[str, Any], template: Template, **how: Any
) -> Instance:
    """Start under an id of our own; somebody else may take that very id first."""
    while True:
        taken = manager.registry.read()
        made = names.automatic_id(int(time.time()), os.getpid(), taken)
        spec = parse_spec({**raw, "id": made}, template)
        try:
            if spec.start == "on-demand":
                return manager.declare(spec)
            return manager.start(spec, fresh=True, **how)
        except InstanceExists:
            if made not in manager.registry.read():
                raise


def _shown(here: Context, instance: Instance) -> dict[str, Any]:
    return {"version": 1, "instance": summary(instance, str(instance.status), here.settings())}
