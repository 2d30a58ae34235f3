"""`start` and `restart`: flags become the raw mapping that every other door has too."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kato_manager.cli import output
from kato_manager.cli.options import As, DryRun, Format, Id, LockTimeout, Timeout, Wait

if TYPE_CHECKING:
    from kato_manager.config.template import Template
    from kato_manager.manager import Manager
    from kato_manager.model import Instance, InstanceSpec

ANY_SETTING = {"allow_extra_args": True, "ignore_unknown_options": True}

# The guide's own flags; every other setting of the template is taken from the words left over.
Setting = Annotated[str | None, typer.Option(metavar="VALUE", show_default=False)]


def register(app: typer.Typer) -> None:
    app.command("start", context_settings=ANY_SETTING)(start)
    app.command("restart", context_settings=ANY_SETTING)(restart)


def _option(*names: str, help_: str, metavar: str = "TEXT") -> Any:
    return typer.Option(*names, help=help_, metavar=metavar, show_default=False)


def start(
    context: typer.Context,
    id_: Annotated[
        str | None, _option("--id", help_="Processor id; made of time and pid if left out.")
    ] = None,
    name: Annotated[str | None, _option("--name", help_="Name to show [KatoProcessor].")] = None,
    port: Annotated[
        int | None, _option("--port", metavar="PORT", help_="API port [first free from 8001].")
    ] = None,
    indexer_type: Annotated[
        str | None, _option("--indexer-type", help_="Vector indexer [VI].")
    ] = None,
    max_predictions: Annotated[
        str | None, _option("--max-predictions", metavar="N", help_="Maximum predictions [100].")
    ] = None,
    recall_threshold: Annotated[
        str | None, _option("--recall-threshold", metavar="0..1", help_="Recall threshold [0.1].")
    ] = None,
    max_seq_length: Annotated[
        str | None,
        _option("--max-seq-length", metavar="N", help_="Max pattern length, 0 is unlimited [0]."),
    ] = None,
    persistence: Annotated[
        str | None, _option("--persistence", metavar="N", help_="Persistence value [5].")
    ] = None,
    quiescence: Annotated[
        str | None, _option("--quiescence", metavar="N", help_="Kept and shown; no effect [3].")
    ] = None,
    template: Annotated[
        str | None, _option("--template", help_="Kind of processor, a name or a path [kato].")
    ] = None,
    runtime: Annotated[
        str | None, _option("--runtime", metavar="auto|local|docker", help_="Where it runs [auto].")
    ] = None,
    image: Annotated[str | None, _option("--image", help_="Container image.")] = None,
    set_: Annotated[
        list[str] | None,
        _option("--set", "-s", metavar="KEY=VALUE", help_="Any setting of the template."),
    ] = None,
    env: Annotated[
        list[str] | None,
        _option("--env", "-e", metavar="NAME=VALUE", help_="Environment variable."),
    ] = None,
    env_file: Annotated[
        list[str] | None,
        _option("--env-file", metavar="FILE", help_="Environment variables, below --env."),
    ] = None,
    group: Annotated[str | None, _option("--group", help_="Group it belongs to.")] = None,
    label: Annotated[
        list[str] | None, _option("--label", "-l", metavar="KEY=VALUE", help_="Label.")
    ] = None,
    volume: Annotated[
        list[str] | None,
        _option("--volume", "-v", metavar="SOURCE:TARGET", help_="Volume of the container."),
    ] = None,
    cpus: Annotated[str | None, _option("--cpus", metavar="N", help_="CPU limit.")] = None,
    memory: Annotated[str | None, _option("--memory", help_="Memory limit, as 512m.")] = None,
    gpus: Annotated[str | None, _option("--gpus", help_="GPUs: all, a count, device=0,1.")] = None,
    restart_policy: Annotated[
        str | None, _option("--restart", metavar="no|on-failure|always", help_="When it dies [no].")
    ] = None,
    pull: Annotated[
        str | None, _option("--pull", metavar="always|missing|never", help_="Image pull [missing].")
    ] = None,
    *,
    strict_port: Annotated[
        bool, typer.Option("--strict-port", help="Fail when the port is taken, do not move.")
    ] = False,
    gateway: Annotated[
        bool, typer.Option("--gateway/--no-gateway", help="Bring the gateway up too.")
    ] = True,
    wait: Wait = True,
    timeout: Timeout = None,
    dry_run: DryRun = False,
    lock_timeout: LockTimeout = None,
    format_: As = Format.table,
) -> None:
    """Start an instance, and the gateway.

    Starting what runs already is success.

    Any setting of the template is a flag too: --rank-sort-algo similarity.
    """
    from kato_manager import templates
    from kato_manager.cli.opening import open_manager

    manager = open_manager(lock_timeout)
    given = {
        "id": id_,
        "name": name,
        "port": port,
        "runtime": runtime,
        "image": image,
        "group": group,
        "restart": restart_policy,
        "pull": pull,
        "strict_port": strict_port or None,
        "env": _environment(env, env_file),
        "labels": pairs(label, "--label"),
        "volumes": volume or None,
        "limits": present({"cpus": cpus, "memory": memory, "gpus": gpus}) or None,
        "indexer_type": indexer_type,
        "max_predictions": max_predictions,
        "recall_threshold": recall_threshold,
        "max_seq_length": max_seq_length,
        "persistence": persistence,
        "quiescence": quiescence,
    }
    recorded = manager.registry.read().get(id_) if id_ else None
    kind = template or (recorded.spec.template if recorded else templates.DEFAULT)
    chosen = templates.load(kind, home=manager.settings.home)
    raw = {**present(given), **_settings(chosen, set_, context.args)}
    if dry_run:
        before = recorded.spec if recorded else None
        _print_plan(manager, _spec({"id": "kato-auto", **raw}, chosen, before), format_)
        return
    with output.progress(f"starting {id_ or 'an instance'}"):
        if id_ is not None:
            spec = _spec(raw, chosen, recorded.spec if recorded else None)
            instance = manager.start(spec, wait=wait, timeout_s=timeout)
        else:
            instance = _start_unnamed(manager, raw, chosen, wait=wait, timeout_s=timeout)
    if gateway:
        ensure_gateway(manager)
    _answer(manager, instance, format_)


def restart(
    context: typer.Context,
    instance: Id,
    name: Annotated[str | None, _option("--name", help_="New name.")] = None,
    port: Annotated[int | None, _option("--port", metavar="PORT", help_="New port.")] = None,
    set_: Annotated[
        list[str] | None,
        _option("--set", "-s", metavar="KEY=VALUE", help_="Any setting of the template."),
    ] = None,
    env: Annotated[
        list[str] | None,
        _option("--env", "-e", metavar="NAME=VALUE", help_="Environment variable."),
    ] = None,
    env_file: Annotated[
        list[str] | None,
        _option("--env-file", metavar="FILE", help_="Environment variables, below --env."),
    ] = None,
    *,
    wait: Wait = True,
    timeout: Timeout = None,
    lock_timeout: LockTimeout = None,
    format_: As = Format.table,
) -> None:
    """Stop and start an instance, with changes if given.

    Any setting is a flag: kato restart a --recall-threshold 0.3.
    """
    from kato_manager import templates
    from kato_manager.cli.opening import open_manager
    from kato_manager.selection import select

    manager = open_manager(lock_timeout)
    (recorded,) = select(manager.registry.read(), [instance])[:1]
    spec = None
    given = present({"name": name, "port": port, "env": _environment(env, env_file)})
    if given or set_ or context.args:
        chosen = templates.load(recorded.spec.template, home=manager.settings.home)
        spec = _spec({**given, **_settings(chosen, set_, context.args)}, chosen, recorded.spec)
    with output.progress(f"restarting {recorded.id}"):
        restarted = manager.restart(recorded.id, spec=spec, wait=wait, timeout_s=timeout)
    _answer(manager, restarted, format_)


def _environment(words: list[str] | None, files: list[str] | None) -> dict[str, str] | None:
    """The variables of the files, later ones over earlier ones, and of the flags over all."""
    found: dict[str, str] = {}
    if files:
        from kato_manager.config.env_files import variables_of

        for file in files:
            found |= variables_of(Path(file), os.environ)
    return (found | (pairs(words, "--env") or {})) or None


def pairs(words: Sequence[str] | None, flag: str) -> dict[str, str] | None:
    """`KEY=VALUE` words as a mapping; raises `ConfigError` for one without `=`."""
    from kato_manager.errors import ConfigError

    for word in words or ():
        if "=" not in word:
            raise ConfigError(f"{flag} {word!r} has no '='", hint=f"{flag} KEY=VALUE")
    return dict(word.split("=", 1) for word in words) if words else None


def present(values: dict[str, Any]) -> dict[str, Any]:
    """What was given."""
    return {key: value for key, value in values.items() if value is not None}


def _settings(
    template: "Template", set_: Sequence[str] | None, rest: Sequence[str]
) -> dict[str, Any]:
    from kato_manager import templates

    settings = {**(pairs(set_, "--set") or {}), **templates.read_flags(template, rest)}
    return {"settings": settings} if settings else {}


def _spec(
    raw: dict[str, Any], template: "Template", recorded: "InstanceSpec | None"
) -> "InstanceSpec":
    from kato_manager.config.parse import override, parse_spec

    if recorded is None:
        return parse_spec(raw, template, warn=output.talk)
    return override(recorded, {**raw, "id": recorded.id}, template, warn=output.talk)


def _print_plan(manager: "Manager", spec: "InstanceSpec", format_: Format) -> None:
    from kato_manager import liveness, plan
    from kato_manager.cli.apply import print_plan

    recorded = manager.registry.read()
    made = plan.diff([spec], recorded, liveness.words(recorded), file="", origin="")
    print_plan(made, format_)


def _start_unnamed(
    manager: "Manager", raw: dict[str, Any], template: "Template", **how: Any
) -> "Instance":
    """Start under an id of our own; another command may take that very id first."""
    from kato_manager import names
    from kato_manager.errors import InstanceExists

    while True:
        taken = manager.registry.read()
        made = names.automatic_id(int(time.time()), os.getpid(), taken)
        try:
            return manager.start(_spec({**raw, "id": made}, template, None), fresh=True, **how)
        except InstanceExists:
            if made not in manager.registry.read():
                raise


def ensure_gateway(manager: "Manager") -> None:
    """Bring the gateway up; that its port is a stranger's does not make the start a failure."""
    from kato_manager.errors import PortTaken
    from kato_manager.gateway import lifecycle

    try:
        lifecycle.ensure(manager.settings)
    except PortTaken as problem:
        output.talk(f"no gateway: {problem}; use the direct URL")


def _answer(manager: "Manager", instance: "Instance", format_: Format) -> None:
    from kato_manager.view import summary

    answer = summary(instance, str(instance.status), manager.settings)
    if format_ is Format.json:
        output.document("instance", answer)
        return
    output.data(f"{instance.id}  {instance.status}  {answer['gateway_url']}/  {instance.url}")
