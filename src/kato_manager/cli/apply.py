"""`plan`, `diff`, `apply`, `down`: what a file asks for, and making it so."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kato_manager.cli import output
from kato_manager.cli.files import EnvFile, Files, Profiles, read_document
from kato_manager.cli.options import As, Format, LockTimeout, Timeout, Yes
from kato_manager.errors import ConfigError

if TYPE_CHECKING:
    from kato_manager.apply import Outcome
    from kato_manager.manager import Manager
    from kato_manager.plan import Plan

CHANGES_PENDING = 10
INTERRUPTED = 130

Prune = Annotated[
    bool, typer.Option("--prune", help="Stop what this file made and no longer names.")
]
Parallel = Annotated[
    int, typer.Option("--parallel", metavar="N", min=1, max=64, help="Steps at a time.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan, change nothing.")]


def register(app: typer.Typer) -> None:
    app.command("plan")(plan)
    app.command("diff")(diff)
    app.command("apply")(apply)
    app.command("down")(down)


def plan(
    file: Files = None,
    profile: Profiles = None,
    env_file: EnvFile = "",
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="FILE", help="Save the plan for `kato apply`.")
    ] = "",
    *,
    prune: Prune = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 10 when something would change.")
    ] = False,
    format_: As = Format.table,
) -> None:
    """Show what apply would do, and why."""
    made = _planned(_manager(None), file, profile, env_file, prune=prune)
    if out:
        from kato_manager.cli.saved_plan import save

        save(made, Path(out))
    print_plan(made, format_)
    if detailed_exitcode and made.changes:
        raise typer.Exit(CHANGES_PENDING)


def diff(
    file: Files = None,
    profile: Profiles = None,
    env_file: EnvFile = "",
    *,
    prune: Prune = False,
    format_: As = Format.table,
) -> None:
    """Show each value that would change.

    Exit code 10 when any does.
    """
    from kato_manager.plan import Action

    made = _planned(_manager(None), file, profile, env_file, prune=prune)
    signs = {Action.START: "+", Action.STOP: "-"}
    if format_ is Format.json:
        print_plan(made, format_)
    for step in made.changes if format_ is Format.table else ():
        output.data(f"{signs.get(step.action, '~')} {step.id}  {step.cause}")
        for change in step.changes:
            output.data(f"    {change}")
    if made.changes:
        raise typer.Exit(CHANGES_PENDING)


def apply(
    saved: Annotated[
        str, typer.Argument(metavar="[PLAN]", help="A plan saved by `kato plan -o`.")
    ] = "",
    file: Files = None,
    profile: Profiles = None,
    env_file: EnvFile = "",
    *,
    prune: Prune = False,
    parallel: Parallel = 4,
    dry_run: DryRun = False,
    yes: Yes = False,
    gateway: Annotated[
        bool, typer.Option("--gateway/--no-gateway", help="Bring the gateway up too.")
    ] = True,
    timeout: Timeout = None,
    lock_timeout: LockTimeout = None,
    format_: As = Format.table,
) -> None:
    """Make it so: change what differs, leave the rest.

    Exit code 8 when some steps failed; the same command continues then.
    """
    manager = _manager(lock_timeout)
    if saved:
        from kato_manager.cli.saved_plan import open_saved

        if file or profile or env_file or prune:
            message = "a saved plan is carried out as it is, without --file and the like"
            raise ConfigError(message, hint=f"kato apply {saved}")
        made = open_saved(Path(saved), manager)
    else:
        made = _planned(manager, file, profile, env_file, prune=prune)
    if dry_run:
        print_plan(made, format_)
        return
    _carry_out(made, manager, parallel, timeout, format_, yes=yes)
    if gateway and made.changes:
        from kato_manager.cli.start import ensure_gateway

        ensure_gateway(manager)


def down(
    file: Files = None,
    profile: Profiles = None,
    env_file: EnvFile = "",
    *,
    parallel: Parallel = 4,
    dry_run: DryRun = False,
    yes: Yes = False,
    lock_timeout: LockTimeout = None,
    format_: As = Format.table,
) -> None:
    """Stop what the file names and what it made.

    Dependants first; data stays.
    """
    from kato_manager import plan as planning
    from kato_manager.apply import observed

    manager = _manager(lock_timeout)
    document = read_document(file, profile, env_file, manager.settings)
    recorded, words = observed(manager, manager.registry.read())
    made = planning.down(
        document.named, recorded, words, file=document.name, origin=document.origin
    )
    if dry_run:
        print_plan(made, format_)
        return
    _carry_out(made, manager, parallel, None, format_, yes=yes)


def _manager(lock_timeout: float | None) -> "Manager":
    from kato_manager.cli.opening import open_manager

    return open_manager(lock_timeout)


def _planned(
    manager: "Manager",
    file: list[str] | None,
    profile: list[str] | None,
    env_file: str,
    *,
    prune: bool,
) -> "Plan":
    from kato_manager import plan as planning
    from kato_manager.apply import observed

    document = read_document(file, profile, env_file, manager.settings)
    if prune and not document.origin:
        raise ConfigError("--prune needs a file, stdin made nothing", hint="-f FILE --prune")
    recorded, words = observed(manager, manager.registry.read())
    return planning.diff(
        document.specs,
        recorded,
        words,
        file=document.name,
        origin=document.origin,
        named=document.named,
        prune=prune,
    )


def print_plan(made: "Plan", format_: Format) -> None:
    """What would be done; what --prune would do besides is talk."""
    from kato_manager import plan as planning

    if format_ is Format.json:
        output.data(json.dumps(planning.to_document(made), indent=2, ensure_ascii=False))
        return
    if made.steps:
        output.data(str(made))
    if made.leftover:
        output.talk(f"no longer named, --prune would stop: {', '.join(made.leftover)}")


def _carry_out(
    made: "Plan",
    manager: "Manager",
    parallel: int,
    timeout_s: float | None,
    format_: Format,
    *,
    yes: bool,
) -> None:
    """Ask, do, look again, tell; raises `PartlyFailed` when some steps were not done."""
    from kato_manager.apply import execute, raise_failures, verified
    from kato_manager.cli.progress import Progress

    if made.stopping and not yes and output.interactive():
        output.data(str(made))
        output.agree(f"Stop or replace {', '.join(made.stopping)}?")
    progress = Progress(made, quiet=format_ is Format.json)
    try:
        outcomes = execute(
            made,
            manager,
            parallel=parallel,
            timeout_s=timeout_s,
            on_begin=progress.begin,
            on_end=progress.end,
            on_interrupt=progress.interrupted,
        )
    except KeyboardInterrupt:
        output.talk("ended at once; the next command settles what is unfinished")
        os._exit(INTERRUPTED)  # running steps are threads, which only this ends
    outcomes = verified(outcomes, manager)
    _tell(made, outcomes, format_)
    raise_failures(outcomes)


def _tell(made: "Plan", outcomes: "list[Outcome]", format_: Format) -> None:
    if format_ is Format.json:
        output.document("steps", [_summary(one) for one in outcomes])
        return
    if unchanged := len(made.steps) - len(outcomes):
        output.talk(f"{unchanged} unchanged")
    if not made.steps:
        output.talk("nothing to do")


def _summary(outcome: "Outcome") -> dict[str, Any]:
    return {
        "action": outcome.step.action,
        "id": outcome.step.id,
        "cause": outcome.step.cause,
        "result": outcome.result,
        "reason": outcome.reason,
        "duration_s": round(outcome.duration_s, 3),
        "url": outcome.instance.url if outcome.instance else None,
    }
