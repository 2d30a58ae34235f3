"""`list`, `status` and `inspect`: what there is, as recorded and as it is."""

import os

import typer

from kato_manager import liveness
from kato_manager.cli import output
from kato_manager.cli.options import As, Format, Group, Id, Label, Quiet, Words
from kato_manager.model import Instance
from kato_manager.registry import Registry
from kato_manager.registry_file import Instances
from kato_manager.selection import select
from kato_manager.settings import Settings
from kato_manager.view import details, gateway_url, summary

COLUMNS = ("ID", "NAME", "STATUS", "PORT", "RUNTIME", "URL")


def register(app: typer.Typer) -> None:
    app.command("list")(list_)
    app.command("ls", hidden=True)(list_)
    app.command("ps", hidden=True)(list_)
    app.command("status")(status)
    app.command("inspect")(inspect)


def list_(
    words: Words = None,
    group: Group = None,
    label: Label = None,
    *,
    quiet: Quiet = False,
    format_: As = Format.table,
) -> None:
    """List the instances and whether they live.

    No engine is asked; `kato status` does that.
    """
    settings = Settings.load(os.environ)
    instances = _read(settings)
    chosen = select(instances, words or (), groups=group or (), labels=label or ())
    states = liveness.words({one.id: one for one in chosen})
    if quiet:
        for one in chosen:
            output.data(one.id)
    elif format_ is Format.json:
        output.document("instances", [summary(one, states[one.id], settings) for one in chosen])
    else:
        _print_table([(one, states[one.id]) for one in chosen], settings)


def status(
    words: Words = None,
    group: Group = None,
    label: Label = None,
    *,
    format_: As = Format.table,
) -> None:
    """Ask the engines how the instances are.

    Exit code 3 when an instance does not run, 5 when an engine did not answer.
    """
    from kato_manager.cli.opening import open_manager

    manager = open_manager()
    chosen = select(manager.registry.read(), words or (), groups=group or (), labels=label or ())
    seen = manager.status(chosen)
    if format_ is Format.json:
        found = [summary(one.instance, one.word, manager.settings) for one in seen]
        output.document("instances", found)
    else:
        _print_table([(one.instance, one.word) for one in seen], manager.settings)
        for one in seen:
            if one.instance.reason and one.word != "running":
                output.talk(f"{one.instance.id}: {one.instance.reason}")
    if any(one.observed is None for one in seen):
        raise typer.Exit(5)
    if any(one.word not in {"running", "starting"} for one in seen):
        raise typer.Exit(3)


def inspect(instance: Id, *, _format: As = Format.json) -> None:
    """Print all that is known of one instance, as JSON."""
    from kato_manager.cli.opening import open_manager

    manager = open_manager()
    (chosen,) = select(manager.registry.read(), [instance])[:1]
    (seen,) = manager.status([chosen])
    output.document("instance", {**summary(chosen, seen.word, manager.settings), **details(chosen)})


def _read(settings: Settings) -> Instances:
    """The registry; only a lost one is worth the slow look at what runs."""
    registry = Registry(settings.home, survivors=_survivors)
    instances = registry.read()
    for note in instances.notes:
        output.talk(note)
    return instances


def _survivors(registry_id: str | None) -> list[Instance]:
    from kato_manager.manager import Manager

    return list(Manager.of(Settings.from_environ(os.environ)).survivors(registry_id))


def _print_table(rows: list[tuple[Instance, str]], settings: Settings) -> None:
    if not rows:
        output.talk("no instances; start one: kato start --id a")
        return
    output.table(
        COLUMNS,
        [
            (
                one.id,
                one.spec.name,
                word,
                str(one.port),
                one.runtime,
                f"{gateway_url(one, settings)}/",
            )
            for one, word in rows
        ],
    )
