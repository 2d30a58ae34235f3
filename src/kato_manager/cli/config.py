"""`config`, `schema`, `export`: files of instances resolved, described, and for other tools."""

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kato_manager.cli import output
from kato_manager.cli.files import EnvFile, Files, Profiles, read_document
from kato_manager.cli.options import As, Format


class Target(StrEnum):
    compose = "compose"
    kubernetes = "kubernetes"
    systemd = "systemd"


def register(app: typer.Typer) -> None:
    app.command("config")(config)
    app.command("schema")(schema)
    app.command("export")(export)


def config(
    file: Files = None,
    profile: Profiles = None,
    env_file: EnvFile = "",
    *,
    show_origin: Annotated[
        bool, typer.Option("--show-origin", help="Say where each value comes from.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only check the file.")] = False,
    format_: As = Format.table,
) -> None:
    """Print the file with everything resolved.

    What is printed means the same.
    """
    from kato_manager.config import render
    from kato_manager.settings import Settings

    document = read_document(file, profile, env_file, Settings.load(os.environ))
    if quiet:
        return
    if format_ is Format.json:
        output.document("instances", render.to_document(document, show_origin=show_origin))
        return
    for line in render.to_text(document, show_origin=show_origin):
        output.data(line)


def schema() -> None:
    """Print the JSON Schema of the files, for editors.

    kato schema > kato.schema.json, then begin the file with:
    # yaml-language-server: $schema=kato.schema.json
    """
    from kato_manager import templates
    from kato_manager.config.schema import file_schema
    from kato_manager.settings import Settings

    home = Settings.load(os.environ).home
    found = [templates.load(name, home=home) for name in templates.available(home)]
    output.data(json.dumps(file_schema(found), indent=2, ensure_ascii=False))


def export(
    target: Annotated[Target, typer.Argument(help="For which tool.")],
    file: Files = None,
    profile: Profiles = None,
    env_file: EnvFile = "",
    out: Annotated[
        str,
        typer.Option("--out", "-o", metavar="PATH", help="A file; for systemd a folder of units."),
    ] = "",
) -> None:
    """Write it for Compose, Kubernetes or systemd."""
    from kato_manager.settings import Settings

    settings = Settings.load(os.environ)
    document = read_document(file, profile, env_file, settings)
    if target is Target.systemd:
        from kato_manager.export.systemd import systemd

        _write_units(systemd(document.specs), out)
        return
    if target is Target.compose:
        from kato_manager import services
        from kato_manager.export.compose import compose

        text = compose(document.specs, services.load(settings.home, os.environ))
    else:
        from kato_manager.export.kubernetes import kubernetes

        text = kubernetes(document.specs)
    if out:
        Path(out).write_text(text, encoding="utf-8")
    else:
        output.data(text.rstrip("\n"))


def _write_units(units: dict[str, str], folder: str) -> None:
    for name, text in units.items():
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_text(text, encoding="utf-8")
        else:
            output.data(f"# {name}\n{text}")
