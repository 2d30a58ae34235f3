"""`sessions stats|backup|migrate|rebuild|doctor`: a store as a whole."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from kato_manager import errors
from kato_manager.cli import output
from kato_manager.cli.options import As, Format
from kato_manager.cli.session_care import counted, warn
from kato_manager.cli.sessions import Output, StoreUrl, opened


def add_to(group: typer.Typer) -> None:
    for command in (stats, backup, migrate, rebuild, doctor):
        group.command()(command)


def stats(*, format_: As = Format.table, store: StoreUrl = None) -> None:
    """Figures over all sessions. Exit code 1 when something is alarming."""
    from kato_manager.gateway.sessions import figures, sweeping

    with opened(store) as here:
        found = figures.figures(here.store, here.archive)
        alarms = figures.alarms(found, failure=sweeping.last_failure(here.home))
    if format_ is Format.json:
        output.document("stats", {**found, "warnings": alarms})
    else:
        output.table(("WHAT", "HOW MUCH"), [(name, str(value)) for name, value in found.items()])
    warn(alarms)


def backup(file: Output = None, *, store: StoreUrl = None) -> None:
    """Copy the store while it is used.

    A plain `cp` would miss what is in the write-ahead log.
    """
    from kato_sessions.transfer import migrate as copy_all

    with opened(store) as here:
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        target = file or here.home / "backups" / f"sessions_backup_{stamp}.db"
        if (copy := getattr(here.store.backend, "backup", None)) is not None:
            with output.progress("copying"):
                copy(target)
        else:
            with opened(f"sqlite:{target}") as there, counted("copying") as progress:
                copy_all(here.store, there.store, overwrite=True, progress=progress)
    output.data(str(target))


def migrate(
    source: Annotated[str, typer.Option("--from", metavar="URL", help="Where they are.")],
    target: Annotated[str, typer.Option("--to", metavar="URL", help="Where they go.")],
    *,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Over those there.")] = False,
) -> None:
    """Copy all sessions from one store to another."""
    from kato_sessions.connect import is_there
    from kato_sessions.transfer import migrate as copy_all

    if not is_there(source):
        raise errors.InstanceNotFound(f"there is no store {source}")
    with opened(source) as here, opened(target) as there, counted("copying") as progress:
        done = copy_all(here.store, there.store, overwrite=overwrite, progress=progress)
    output.data(f"{done} sessions copied")


def rebuild(
    logs: Annotated[Path, typer.Option("--from-logs", metavar="FOLDER", help="JSON lines.")],
    *,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Over those there.")] = False,
    store: StoreUrl = None,
) -> None:
    """Make lost sessions again from logs.

    Lines of JSON with session_id, ts, role and content.
    """
    from kato_sessions.rebuild import rebuild_sessions

    with opened(store) as here:
        made = rebuild_sessions(here.store, logs, overwrite=overwrite)
    for session_id in made.session_ids:
        output.data(session_id)
    output.talk(f"{len(made.session_ids)} rebuilt, {len(made.present)} present already")
    warn([f"unreadable: {where}" for where in made.unreadable])


def doctor(
    *,
    fix: Annotated[bool, typer.Option("--fix", help="Set corrupt records aside.")] = False,
    format_: As = Format.table,
    store: StoreUrl = None,
) -> None:
    """Read every record and say what is wrong. Exit code 1 when something is."""
    from dataclasses import asdict

    from kato_sessions.doctor import examine

    with opened(store) as here, output.progress("reading every record"):
        health = examine(here.store, archive=here.archive, quarantine=fix)
    if format_ is Format.json:
        output.document("health", asdict(health))
    else:
        output.data(f"{health.place}: {health.live} live of {health.records} records")
        for session_id, items in health.largest:
            output.data(f"  {session_id}  {items} items")
    corrupt = [f"{place}: {reason}" for place, reason in health.corrupt]
    set_aside = [f"set aside: {line}" for line in corrupt]
    warn([*(set_aside if fix else corrupt), *health.warnings])
