"""`kato --gateway URL ...`: the same commands, done by a gateway elsewhere."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from kato_manager.cli import output
from kato_manager.cli.options import As, Format, Group, Label, Quiet, Timeout, Wait
from kato_manager.errors import ConfigError, PartlyFailed
from kato_manager.remote import TOKEN_VARIABLE, Remote
from kato_manager.settings import Settings

OPTION = "--gateway"
COLUMNS = ("ID", "NAME", "STATUS", "PORT", "RUNTIME", "GROUP")
_ANY = {"allow_extra_args": True, "ignore_unknown_options": True}
_SHORT = {"-e": "--env", "-l": "--label", "-v": "--volume", "-s": "--set"}
_PAIRS = {"env": "env", "label": "labels", "set": "settings"}
_LISTS = {"volume": "volumes"}
_LIMITS = frozenset({"cpus", "memory", "gpus"})

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID|NAME...", show_default=False)]
Id = Annotated[str, typer.Argument(metavar="ID|NAME", show_default=False)]
File = Annotated[
    str, typer.Option("--file", "-f", metavar="FILE", help="File of instances, - is stdin.")
]
Prune = Annotated[bool, typer.Option("--prune", help="Stop what this file made and now omits.")]


def application() -> typer.Typer:
    app = typer.Typer(
        name="kato",
        help=f"Work on the instances of a gateway elsewhere; {TOKEN_VARIABLE} holds its token.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_choose)
    for name, command in _COMMANDS.items():
        takes_any = name in {"start", "restart"}
        app.command(name, context_settings=_ANY if takes_any else None)(command)
    return app


def _choose(
    context: typer.Context,
    gateway: Annotated[str, typer.Option(OPTION, metavar="URL", help="Which gateway.")],
) -> None:
    context.obj = Remote.of(gateway, os.environ, Settings.from_environ(os.environ).home)


def list_(
    context: typer.Context,
    group: Group = None,
    label: Label = None,
    *,
    quiet: Quiet = False,
    format_: As = Format.table,
) -> None:
    """List the instances there and whether they live."""
    answer = context.obj.ask("GET", "instances", group=group or None, label=label or None)
    found = answer["instances"]
    if quiet:
        for one in found:
            output.data(one["id"])
    else:
        _print(found, format_)


def status(
    context: typer.Context,
    instances: Ids = None,
    *,
    format_: As = Format.table,
) -> None:
    """Ask how the instances there are. Exit code 3 when one does not run, 5 when none can tell."""
    remote: Remote = context.obj
    words = instances or [one["id"] for one in remote.ask("GET", "instances")["instances"]]
    found = [remote.ask("GET", "instances", word)["instance"] for word in words]
    _print(found, format_)
    states = {one["status"] for one in found}
    if "unreachable" in states:
        raise typer.Exit(5)
    if states - {"running", "starting"}:
        raise typer.Exit(3)


def inspect(context: typer.Context, instance: Id) -> None:
    """Print everything that is recorded and observed about one instance, as JSON."""
    output.document("instance", context.obj.ask("GET", "instances", instance)["instance"])


def start(
    context: typer.Context,
    *,
    wait: Wait = True,
    timeout: Timeout = None,
    format_: As = Format.table,
) -> None:
    """Start an instance there; --id, --template and every setting are flags."""
    body = raw(context.args)
    answer = context.obj.ask("POST", "instances", body=body, wait=wait, timeout_s=timeout)
    _show(answer["instance"], format_)


def restart(
    context: typer.Context,
    instance: Id,
    *,
    wait: Wait = True,
    timeout: Timeout = None,
    format_: As = Format.table,
) -> None:
    """Stop and start an instance there, changed by what is given."""
    body = raw(context.args)
    answer = context.obj.ask(
        "POST", "instances", instance, "restart", body=body, wait=wait, timeout_s=timeout
    )
    _show(answer["instance"], format_)


def stop(
    context: typer.Context,
    instances: Ids = None,
    *,
    all_: Annotated[bool, typer.Option("--all", "-a", help="Stop every instance.")] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Delete the data too.")] = False,
    grace: Annotated[
        float | None, typer.Option("--grace", metavar="SECONDS", min=0, show_default=False)
    ] = None,
    format_: As = Format.table,
) -> None:
    """Stop instances there; their data stays."""
    remote: Remote = context.obj
    if not instances and not all_:
        raise ConfigError("stop without a name means all", hint="stop --all, or name some")
    named = instances or [one["id"] for one in remote.ask("GET", "instances")["instances"]]
    answers = [
        remote.ask("POST", "instances", one, "stop", purge=purge, grace_s=grace) for one in named
    ]
    stopped = [one for answer in answers for one in answer["stopped"]]
    if format_ is Format.json:
        output.document("stopped", stopped)
    else:
        for one in stopped:
            output.data(f"{one}  stopped")


def logs(
    context: typer.Context,
    instance: Id,
    tail: Annotated[int, typer.Option("--tail", "-n", metavar="N", min=0, max=1000)] = 1000,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it prints.")] = False,
) -> None:
    """Print what an instance there printed."""
    for line in context.obj.lines("instances", instance, "logs", tail=tail, follow=follow):
        output.data(line)


def events(context: typer.Context) -> None:
    """Print what happens there, an object a line."""
    for line in context.obj.lines("events"):
        output.lines([json.loads(line)])


def stats(context: typer.Context) -> None:
    """Print what instances there use and have answered, as JSON."""
    answer = context.obj.ask("GET", "stats")
    output.document("instances", answer["instances"])


def templates(context: typer.Context, *, format_: As = Format.table) -> None:
    """List the kinds of processors there."""
    found = context.obj.ask("GET", "templates")["templates"]
    if format_ is Format.json:
        output.document("templates", found)
    else:
        output.table(("NAME", "DESCRIPTION"), [(o["name"], o["description"]) for o in found])


def plan(context: typer.Context, file: File = "kato.yaml", *, prune: Prune = False) -> None:
    """Show what apply would do there, and why."""
    answer = context.obj.ask("POST", "plan", body=_content(file), name=_name(file), prune=prune)
    for step in answer["steps"]:
        output.data(f"{step['action']:<7}  {step['id']:<13}  {step['cause']}")


def apply(context: typer.Context, file: File = "kato.yaml", *, prune: Prune = False) -> None:
    """Make it so there. Exit code 8 when some steps failed; the same command continues then."""
    answer = context.obj.ask("POST", "apply", body=_content(file), name=_name(file), prune=prune)
    for step in answer["steps"]:
        output.data(f"{step['action']:<7}  {step['id']:<13}  {step['result']}")
    lost = [f"{one['id']}: {one['reason']}" for one in answer["steps"] if one["result"] != "done"]
    if lost:
        raise PartlyFailed("; ".join(lost), hint="the same command continues")


def top(context: typer.Context) -> None:
    """Show live what instances there do."""
    from kato_manager.cli import top as view

    view.show(lambda: dict(context.obj.ask("GET", "stats")))


_COMMANDS: Mapping[str, Callable[..., None]] = {
    "list": list_,
    "status": status,
    "inspect": inspect,
    "start": start,
    "restart": restart,
    "stop": stop,
    "logs": logs,
    "events": events,
    "stats": stats,
    "top": top,
    "templates": templates,
    "plan": plan,
    "apply": apply,
}


def raw(words: Sequence[str]) -> dict[str, Any]:
    """Flags as the raw mapping that the gateway checks: `--a-b c` is `a_b: "c"`."""
    found: dict[str, Any] = {}
    rest = list(words)
    while rest:
        name, equals, value = _SHORT.get(rest[0], rest[0]).partition("=")
        if not name.startswith("--"):
            raise ConfigError(f"{rest[0]!r} is no option", hint="kato --gateway URL start --id a")
        del rest[0]
        if not equals and rest and not rest[0].startswith("--"):
            equals, value = "=", rest.pop(0)
        _take(found, name[2:].replace("-", "_"), value if equals else None)
    return found


def _take(found: dict[str, Any], key: str, value: str | None) -> None:
    if value is None:
        found[key.removeprefix("no_")] = not key.startswith("no_")
    elif key in _PAIRS:
        name, _, text = value.partition("=")
        found.setdefault(_PAIRS[key], {})[name] = text
    elif key in _LISTS:
        found.setdefault(_LISTS[key], []).append(value)
    elif key in _LIMITS:
        found.setdefault("limits", {})[key] = value
    else:
        found[key] = value


def _print(found: Sequence[Mapping[str, Any]], format_: Format) -> None:
    if format_ is Format.json:
        output.document("instances", found)
    elif not found:
        output.talk("no instances there")
    else:
        keys = ("id", "name", "status", "api_port", "runtime", "group")
        output.table(COLUMNS, [[str(one[key]) for key in keys] for one in found])


def _show(instance: Mapping[str, Any], format_: Format) -> None:
    if format_ is Format.json:
        output.document("instance", instance)
    else:
        output.data(f"{instance['id']}  {instance['status']}  {instance['gateway_url']}/")


def _content(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


def _name(file: str) -> str:
    return "" if file == "-" else Path(file).name
