"""Flags that several commands share, and the completion of their values."""

import os
from contextlib import suppress
from enum import StrEnum
from typing import Annotated

import typer

from kato_manager.errors import KatoError
from kato_manager.registry import Registry
from kato_manager.registry_file import Instances
from kato_manager.settings import Settings


class Format(StrEnum):
    table = "table"
    json = "json"


def complete_ids(incomplete: str) -> list[str]:
    """Ids that begin so; from the registry alone, no engine is asked."""
    return [one for one in _recorded() if one.startswith(incomplete)]


def _recorded() -> Instances:
    """What there is to complete; trouble is for the command to tell, not for a line half typed."""
    with suppress(KatoError, OSError):
        return Registry(Settings.from_environ(os.environ).home).read()
    return Instances()


def complete_groups(incomplete: str) -> list[str]:
    groups = {instance.spec.group for instance in _recorded().values()} - {""}
    return sorted(one for one in groups if one.startswith(incomplete))


Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ID|NAME|GLOB]...",
        help="Which instances: ids, names, or globs such as 'a*'.",
        autocompletion=complete_ids,
        show_default=False,
    ),
]
Id = Annotated[
    str,
    typer.Argument(
        metavar="ID|NAME", help="Which instance.", autocompletion=complete_ids, show_default=False
    ),
]
Group = Annotated[
    list[str] | None,
    typer.Option(
        "--group",
        help="Only instances of this group.",
        autocompletion=complete_groups,
        show_default=False,
    ),
]
Label = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="KEY[=VALUE]", help="Only with this label.", show_default=False
    ),
]
As = Annotated[Format, typer.Option("--format", help="How to print the answer.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print ids only.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; shared services are kept.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout", "-t", metavar="SECONDS", min=0, help="How long to wait for readiness."
    ),
]
LockTimeout = Annotated[
    float | None,
    typer.Option("--lock-timeout", metavar="SECONDS", min=0, help="How long to wait for a lock."),
]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Return when it is ready, or at once.")
]
