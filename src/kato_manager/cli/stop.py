"""`stop`: one, some or all, never data unless told so."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from kato_manager.cli import output
from kato_manager.cli.options import As, DryRun, Format, Group, Label, LockTimeout, Words, Yes
from kato_manager.cli.services import stop_services
from kato_manager.errors import ConfigError, InstanceNotFound, KatoError, together

if TYPE_CHECKING:
    from kato_manager.manager import Manager
    from kato_manager.model import Instance

PARALLEL = 8


def register(app: typer.Typer) -> None:
    app.command("stop")(stop)
    app.command("rm", hidden=True)(stop)


def stop(
    words: Words = None,
    group: Group = None,
    label: Label = None,
    *,
    id_: Annotated[
        str | None, typer.Option("--id", hidden=True, help="As the old manager had it.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", hidden=True, help="As the old manager had it.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", "-a", help="Stop every instance.")] = False,
    yes: Yes = False,
    purge: Annotated[bool, typer.Option("--purge", help="Delete the data too.")] = False,
    with_services: Annotated[
        bool | None,
        typer.Option(
            "--with-services/--no-services",
            "--with-mongo/--no-mongo",
            help="Whether shared services are stopped too; asked if left open.",
            show_default=False,
        ),
    ] = None,
    grace: Annotated[
        float | None,
        typer.Option(
            "--grace", metavar="SECONDS", min=0, help="Time to end by itself.", show_default=False
        ),
    ] = None,
    dry_run: DryRun = False,
    lock_timeout: LockTimeout = None,
    format_: As = Format.table,
) -> None:
    """Stop instances; their data stays.

    The process goes, its entry and its port.

    Without any name it means all, and asks.
    """
    from kato_manager.cli.opening import open_manager
    from kato_manager.selection import select

    words = [*(words or ()), *(word for word in (id_, name) if word)]
    manager = open_manager(lock_timeout)
    instances = manager.registry.read()
    chosen = select(instances, words, groups=group or (), labels=label or ())
    if dry_run:
        fate = "would be stopped, its data deleted" if purge else "would be stopped"
        _tell("would_be_stopped", [one.id for one in chosen], fate, format_)
        return
    if not words and not group and not label:
        _agree_to_all(chosen, all_=all_, yes=yes)
    if purge:
        _agree_to_purge(chosen, yes=yes)
    stopped, problem = _stop(manager, [one.id for one in chosen], grace_s=grace, purge=purge)
    if stopped or not problem:
        _tell("stopped", stopped, "stopped", format_)
    if problem:
        raise problem
    if len(chosen) == len(instances):
        stop_services(manager, wanted=False if yes and with_services is None else with_services)


def _tell(name: str, ids: Sequence[str], fate: str, format_: Format) -> None:
    if format_ is Format.json:
        output.document(name, ids)
        return
    for one in ids:
        output.data(f"{one}  {fate}")
    if not ids:
        output.talk("nothing to stop")


def _agree_to_all(chosen: Sequence["Instance"], *, all_: bool, yes: bool) -> None:
    if all_ or yes or not chosen:
        return
    if not output.interactive():
        raise ConfigError("stop without a name means all", hint="kato stop --all, or name some")
    output.agree(f"Stop all {len(chosen)} instances?")


def _agree_to_purge(chosen: Sequence["Instance"], *, yes: bool) -> None:
    if yes or not chosen:
        return
    ids = ", ".join(one.id for one in chosen)
    if not output.interactive():
        raise ConfigError(f"--purge deletes the data of {ids}", hint="add -y to do so unasked")
    output.agree(f"Delete the data of {ids} for ever?")


def _stop(
    manager: "Manager", ids: Sequence[str], *, grace_s: float | None, purge: bool
) -> tuple[list[str], KatoError | None]:
    """Stop them side by side, whatever happens to any: those that are, and why others are not."""
    from concurrent.futures import ThreadPoolExecutor

    def stop_one(instance_id: str) -> KatoError | None:
        try:
            manager.stop(instance_id, grace_s=grace_s, purge=purge)
        except InstanceNotFound:
            return None  # somebody else has just stopped it
        except KatoError as problem:
            return problem
        return None

    with output.progress(f"stopping {', '.join(ids)}"), ThreadPoolExecutor(PARALLEL) as pool:
        problems = dict(zip(ids, pool.map(stop_one, ids), strict=True))
    stopped = [one for one, problem in problems.items() if problem is None]
    failed = [problem for problem in problems.values() if problem]
    return stopped, together(failed, of=len(ids)) if failed else None
