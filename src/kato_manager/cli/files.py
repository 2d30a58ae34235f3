"""Flags of the commands that read files of instances, and the reading."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kato_manager.errors import ConfigError

if TYPE_CHECKING:
    from kato_manager.config.document import Document
    from kato_manager.settings import Settings

DEFAULT_FILES = ("kato.yaml", "kato.yml")

Files = Annotated[
    list[str] | None,
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        help="File of instances, - is stdin; later ones win [kato.yaml].",
        show_default=False,
    ),
]
Profiles = Annotated[
    list[str] | None,
    typer.Option("--profile", help="Also the instances of this profile.", show_default=False),
]
EnvFile = Annotated[
    str, typer.Option("--env-file", metavar="FILE", help="Instead of .env beside the file.")
]


def read_document(
    files: list[str] | None, profiles: list[str] | None, env_file: str, settings: "Settings"
) -> "Document":
    """The resolved files; raises `ConfigError` with every mistake, warnings go to stderr."""
    from kato_manager import templates
    from kato_manager.cli import output
    from kato_manager.config.document import load

    document = load(
        files or [_default_file()],
        template=lambda name: templates.load(name, home=settings.home),
        environ=os.environ,
        stdin=sys.stdin.buffer.read,
        profiles=profiles or (),
        env_file=env_file,
    )
    for warning in document.warnings:
        output.talk(f"warning: {warning}")
    return document


def _default_file() -> str:
    found = next((one for one in DEFAULT_FILES if Path(one).is_file()), None)
    if found is None:
        raise ConfigError("there is no kato.yaml here", hint="say which file: -f FILE")
    return found
