"""`services`: what instances share, kept while they come and go."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from kato_manager.cli import output
from kato_manager.cli.options import As, Format

if TYPE_CHECKING:
    from kato_manager.manager import Manager
    from kato_manager.services import Services

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[SERVICE]...", help="Which; all if left out.")
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="What instances share: redis, mongo.",
        invoke_without_command=True,
        rich_markup_mode=None,
    )
    group.callback()(list_)
    group.command("list")(list_)
    group.command("start")(start)
    group.command("stop")(stop)
    app.add_typer(group, name="services")


def list_(context: typer.Context, *, format_: As = Format.table) -> None:
    """List the shared services and how they are."""
    if context.invoked_subcommand:
        return
    states = _services().list()
    rows = [
        (one.service.name, one.state, one.service.container, one.service.image) for one in states
    ]
    if format_ is Format.json:
        keys = ("name", "status", "container", "image")
        output.document("services", [dict(zip(keys, row, strict=True)) for row in rows])
    else:
        output.table(("SERVICE", "STATUS", "CONTAINER", "IMAGE"), rows)


def start(names: Names = None) -> None:
    """Start services and wait until they are healthy."""
    services = _services()
    services.ensure(names or [one.service.name for one in services.list()])


def stop(names: Names = None) -> None:
    """Stop services; their data stays."""
    _services().stop(names)


def stop_services(manager: "Manager", *, wanted: bool | None) -> None:
    """After the last instance: stop the shared services too, as told or as answered.

    Unless somebody says so they are kept, and we say that.
    """
    from kato_manager.errors import RuntimeUnavailable

    if wanted is False or "docker" not in manager.runtimes.present:
        return
    services = manager.runtimes.services
    try:
        running = [one.service.name for one in services.list() if one.state == "running"]
    except RuntimeUnavailable as problem:
        if wanted:
            raise
        output.talk(f"shared services: {problem}")
        return
    if not running:
        return
    names = ", ".join(running)
    if wanted is None and output.interactive():
        wanted = output.confirmed(f"Stop the shared services too ({names})?")
    if wanted:
        services.stop(running)
        output.talk(f"stopped {names}")
    else:
        output.talk(f"shared services go on: {names}; kato services stop ends them")


def _services() -> "Services":
    from kato_manager.manager import Manager
    from kato_manager.settings import Settings

    settings = Settings.load(os.environ)
    return Manager.of(settings, os.environ, on_note=output.talk).runtimes.services
