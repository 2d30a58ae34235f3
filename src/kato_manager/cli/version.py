"""`version`: which kato this is."""

import typer

from kato_manager.cli import output
from kato_manager.cli.options import As, Format


def register(app: typer.Typer) -> None:
    app.command("version")(version)


def version(*, format_: As = Format.table) -> None:
    """Print the version."""
    import platform
    from importlib.metadata import version as installed

    from kato_manager.registry_file import VERSION

    answer = {
        "kato-manager": installed("kato-manager"),
        "registry": VERSION,
        "python": platform.python_version(),
    }
    if format_ is Format.json:
        output.document("versions", answer)
        return
    output.data(f"kato-manager {answer['kato-manager']}")
    output.talk(f"registry version {VERSION}, Python {answer['python']}")
