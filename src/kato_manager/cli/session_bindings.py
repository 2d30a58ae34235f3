"""`sessions bind`: which instance keeps the memory of a node."""

import os
from typing import Annotated

import typer

from kato_manager.cli import output
from kato_manager.cli.options import As, Format
from kato_manager.settings import Settings


def add_to(group: typer.Typer) -> None:
    group.command()(bind)


def bind(
    context: typer.Context,
    node_id: Annotated[str | None, typer.Argument(metavar="[NODE]", help="A node_id.")] = None,
    instance: Annotated[str | None, typer.Argument(metavar="[ID]", help="An instance.")] = None,
    *,
    format_: As = Format.table,
) -> None:
    """Bind a node to an instance, or list bindings.

    Its sessions go there from now on. What the node has learned stays where it was: the new
    instance has a memory of its own.
    """
    from kato_manager.gateway.sessions import shown
    from kato_manager.gateway.sessions.bindings import Bindings
    from kato_manager.gateway.sessions.places import places_of
    from kato_manager.registry import Registry
    from kato_manager.selection import select

    settings = Settings.load(os.environ)
    bindings = Bindings(places_of(settings, os.environ).bindings)
    context.call_on_close(bindings.close)
    if node_id is not None and instance is not None:
        chosen = select(Registry(settings.home).read(), [instance])[0]
        before = bindings.bind(node_id, chosen.id)
        was = f"  (was {before.instance})" if before else ""
        output.data(f"{node_id}  {chosen.id}{was}")
        return
    found = [one for one in bindings.all() if node_id in {None, one.node_id}]
    rows = [(one.node_id, one.instance, one.how, shown.iso(one.bound_at)) for one in found]
    if format_ is Format.json:
        keys = ("node_id", "instance", "how", "bound_at")
        output.document("bindings", [dict(zip(keys, row, strict=True)) for row in rows])
    else:
        output.table(("NODE", "INSTANCE", "HOW", "SINCE"), rows)
