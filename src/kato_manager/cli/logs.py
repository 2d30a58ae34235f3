"""`logs`: what an instance printed."""

from contextlib import suppress
from typing import Annotated

import typer

from kato_manager.cli import output
from kato_manager.cli.options import Id


def register(app: typer.Typer) -> None:
    app.command("logs")(logs)


def logs(
    instance: Id,
    tail: Annotated[
        int | None,
        typer.Option(
            "--tail", "-n", metavar="N", min=0, help="Only the last lines.", show_default=False
        ),
    ] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it prints.")] = False,
) -> None:
    """Print what an instance printed.

    --follow goes on until it ends.
    """
    from kato_manager.cli.opening import open_manager
    from kato_manager.errors import InstanceNotFound
    from kato_manager.selection import select

    manager = open_manager()
    chosen = instance
    with suppress(InstanceNotFound):  # a log outlives its entry
        chosen = select(manager.registry.read(), [instance])[0].id
    for line in manager.logs(chosen, tail=tail, follow=follow):
        output.data(line, at_once=follow)
