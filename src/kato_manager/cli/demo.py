"""`demo`: see it work before reading about it."""

import typer

from kato_manager.cli import output


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo() -> None:
    """Start two processors, compare what they predict, stop them; in a folder of its own."""
    from kato_manager.demo import play

    play(output.data)
