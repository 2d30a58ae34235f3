"""`templates list|show|check`: kinds of processors, and the settings they know."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kato_manager.cli import output
from kato_manager.cli.options import As, Format

if TYPE_CHECKING:
    from kato_manager.config.template import Setting, Template

Name = Annotated[str, typer.Argument(metavar="NAME|PATH", help="Which template.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Kinds of processors, and the settings they know.")
    group.command("list")(list_)
    group.command("show")(show)
    group.command("check")(check)
    app.add_typer(group, name="templates", no_args_is_help=True)


def list_(*, format_: As = Format.table) -> None:
    """List the templates, and the files they come from."""
    from kato_manager import templates

    home = _home()
    found = {name: templates.load(name, home=home) for name in templates.available(home)}
    if format_ is Format.json:
        output.document("templates", [_summary(one) for one in found.values()])
        return
    rows = [(name, one.description, one.source) for name, one in found.items()]
    output.table(("NAME", "DESCRIPTION", "FILE"), rows)


def show(name: Name = "kato", *, format_: As = Format.table) -> None:
    """Show how a template runs, and its settings.

    Every setting with its flag, default, variable and range.
    """
    from kato_manager import templates

    template = templates.load(name, home=_home())
    if format_ is Format.json:
        output.document("template", _details(template))
        return
    output.data(f"{template.name}: {template.description}")
    output.data(f"file     {template.source}")
    output.data(f"image    {template.launch.image or '-'}")
    output.data(f"command  {' '.join(template.launch.command) or '-'}")
    output.data(f"health   {template.launch.health.path}\n")
    rows = [
        (one.flag, _default(one), one.env, f"{one.help} ({_wanted(one)})")
        for one in template.settings.values()
    ]
    output.table(("FLAG", "DEFAULT", "VARIABLE", "MEANING"), rows)


def check(names: Annotated[list[str], typer.Argument(metavar="NAME|PATH...")]) -> None:
    """Read templates and tell every mistake."""
    from kato_manager import templates

    for name in names:
        template = templates.load(name, home=_home())
        output.data(f"{template.source}: {len(template.settings)} settings, no mistakes")


def _home() -> Path:
    from kato_manager.settings import Settings

    return Settings.from_environ(os.environ).home


def _wanted(setting: "Setting") -> str:
    from kato_manager.config.values import wanted

    return wanted(setting.hint)


def _default(setting: "Setting") -> str:
    return "" if setting.default is None else setting.in_environment(setting.default)


def _summary(template: "Template") -> dict[str, str]:
    return {
        "name": template.name,
        "description": template.description,
        "file": template.source,
        "image": template.launch.image,
    }


def _details(template: "Template") -> dict[str, object]:
    from kato_manager.config.schema import of_setting
    from kato_manager.model import to_json

    settings = {
        one.name: {
            **of_setting(one),
            "flag": one.flag,
            "env": one.env,
            "aliases": list(one.aliases),
        }
        for one in template.settings.values()
    }
    return {**_summary(template), "launch": to_json(template.launch), "settings": settings}
