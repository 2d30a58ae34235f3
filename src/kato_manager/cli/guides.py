"""`guides`: the guides' module names (`pulsepal`, `app.cli`, `scripts`) for programs."""

import typer

from kato_manager.cli import output


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="The guides' module names.", no_args_is_help=True, rich_markup_mode=None
    )
    group.callback()(_group)
    group.command()(path)
    app.add_typer(group, name="guides")


def path() -> None:
    """Print the folder for PYTHONPATH.

    As in `PYTHONPATH=$(kato guides path) python -m app.cli`.
    """
    from kato_sessions import guides

    output.data(str(guides.path()))


def _group() -> None:
    """The guides' module names."""
