"""`services`: what instances share, kept while they come and go."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from kato_manager.manager import Manager


def register(app: typer.Typer) -> None:
    del app


def stop_services(manager: "Manager", *, wanted: bool | None) -> None:
    del manager, wanted
