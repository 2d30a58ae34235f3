"""`image`: what containers are made from."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from kato_manager.cli import output
from kato_manager.cli.options import As, Format
from kato_manager.cli.start import pairs

if TYPE_CHECKING:
    from kato_manager.images import Image, Images


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="The images that instances run from.", no_args_is_help=True, rich_markup_mode=None
    )
    group.command("build")(build)
    group.command("pull")(pull)
    group.command("list")(list_)
    app.add_typer(group, name="image")


def build(
    tag: Annotated[str, typer.Option("--tag", help="Its name.")] = "kato-processor:latest",
    build_arg: Annotated[
        list[str] | None,
        typer.Option(
            "--build-arg",
            metavar="NAME=VALUE",
            help="BASE_IMAGE, or WHEELS: a folder of wheels, so that no index is needed.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Build the image of our own processor from the code that runs."""
    built = _images().build(tag, build_args=pairs(build_arg, "--build-arg"))
    output.data(f"{built.name}  {_size(built)}")


def pull(name: Annotated[str, typer.Argument(metavar="IMAGE")]) -> None:
    """Pull an image."""
    images = _images()
    images.pull(name)
    output.data(f"{name}  {_size(images.find(name))}")


def list_(*, format_: As = Format.table) -> None:
    """List the images that the templates name.

    And whether they are there.
    """
    from kato_manager import templates
    from kato_manager.settings import Settings

    home = Settings.load(os.environ).home
    launches = [templates.load(name, home=home).launch for name in templates.available(home)]
    found = _images().list(one.image for one in launches if one.image)
    if format_ is Format.json:
        keys = [{"name": one.name, "id": one.id, "size_bytes": one.size_bytes} for one in found]
        output.document("images", keys)
        return
    rows = [(one.name, _size(one) if one.id else "missing", one.id[7:19]) for one in found]
    output.table(("IMAGE", "SIZE", "ID"), rows)


def _size(image: "Image") -> str:
    return f"{image.size_bytes / 1e6:.0f} MB"


def _images() -> "Images":
    from kato_manager.manager import Manager
    from kato_manager.settings import Settings

    settings = Settings.load(os.environ)
    return Manager.of(settings, os.environ, on_note=output.talk).runtimes.images
