"""`demo`: see it work before reading about it."""

import typer

from kato_manager.cli import output


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo() -> None:
    """Start two processors and compare what they predict.

    It plays in a folder of its own, and leaves nothing behind.
    """
    from kato_manager.demo import play

    play(output.data)
