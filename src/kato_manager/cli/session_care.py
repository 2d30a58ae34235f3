"""`sessions archive|restore|cleanup|timer`: what ends them, and brings them back."""

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from kato_manager import errors
from kato_manager.cli import output
from kato_manager.cli.sessions import Opened, StoreUrl, opened
from kato_manager.settings import Settings

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
_TIMER = "kato-sessions-cleanup"


def add_to(group: typer.Typer) -> None:
    for command in (archive, restore, cleanup, timer):
        group.command()(command)


def archive(
    session_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[SESSION]...", help="Which; else all expired.")
    ] = None,
    *,
    store: StoreUrl = None,
) -> None:
    """Set sessions aside, as compressed files by date."""
    with opened(store) as here:
        due = [one.id for one in here.store.due() if one.state.value != "deleted"]
        wanted = session_ids or due
        with counted("archiving") as progress:
            for done, session_id in enumerate(wanted, 1):
                output.data(str(here.archive.put(here.store, session_id)))
                progress(done, len(wanted))


def restore(
    session_id: Annotated[str | None, typer.Argument(metavar="[SESSION]")] = None,
    day: Annotated[
        str | None, typer.Option("--date", metavar="YYYY-MM-DD", help="Of this day.")
    ] = None,
    *,
    store: StoreUrl = None,
) -> None:
    """Bring an archived session back.

    Without an id, list what is archived.
    """
    with opened(store) as here:
        if session_id is None:
            rows = [
                (one.session_id, one.day.isoformat(), str(one.size_bytes))
                for one in here.archive.list()
            ]
            output.table(("SESSION", "DAY", "BYTES"), rows)
            return
        output.data(here.archive.restore(here.store, session_id, _day(day)).id)


def cleanup(
    days: Annotated[
        float | None, typer.Option("--days", min=0, help="Keep archives this long.")
    ] = None,
    max_age_hours: Annotated[
        float | None, typer.Option("--max-age-hours", min=0, help="End what is idle so long.")
    ] = None,
    *,
    dry_run: DryRun = False,
    force: Annotated[bool, typer.Option("--force", help="Do not ask.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Delete every session and archive; asks.")
    ] = False,
    store: StoreUrl = None,
) -> None:
    """End what has expired, and remove old archives."""
    with opened(store) as here:
        if everything:
            _remove_all(here, dry_run=dry_run, force=force)
            return
        if max_age_hours is not None:
            _expire_idle(here, max_age_hours, dry_run=dry_run)
        _sweep(here, days, dry_run=dry_run)


def timer(*, days: Annotated[float | None, typer.Option("--days", min=0)] = None) -> None:
    """Write systemd units for an hourly cleanup."""
    from kato_manager.files import write_atomically

    folder = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    folder = folder / "systemd/user"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in units(Settings.from_environ(os.environ).home, days).items():
        write_atomically(folder / name, text)
        output.data(str(folder / name))
    output.talk(f"systemctl --user enable --now {_TIMER}.timer")


def units(home: Path, days: float | None) -> dict[str, str]:
    """File name -> text."""
    words = [sys.executable, "-m", "kato_manager", "sessions", "cleanup"]
    command = shlex.join([*words, *(() if days is None else ("--days", f"{days:g}"))])
    description = "[Unit]\nDescription=Cleanup of kato sessions\n"
    service = (
        f"{description}\n[Service]\nType=oneshot\n"
        f'Environment="KATO_HOME={home}"\nExecStart={command}\n'
    )
    schedule = (
        f"{description}\n[Timer]\nOnCalendar=hourly\nPersistent=true\n"
        "\n[Install]\nWantedBy=timers.target\n"
    )
    return {f"{_TIMER}.service": service, f"{_TIMER}.timer": schedule}


@contextmanager
def counted(text: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of `done` of `in_all` on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _done, _in_all: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, in_all: bar.update(task, completed=done, total=in_all)


def _sweep(here: Opened, days: float | None, *, dry_run: bool) -> None:
    from kato_sessions.janitor import Janitor
    from kato_sessions.model import DAY_MS, duration_ms

    if days is not None:
        keep_ms = duration_ms("--days", days, DAY_MS)
        here.store.profile = replace(here.store.profile, archive_keep_ms=keep_ms)
    with output.progress("cleaning up"):
        swept = Janitor(here.store, here.archive).sweep(dry_run=dry_run)
    if swept.skipped:
        raise errors.RegistryLocked("another process is cleaning up at this moment")
    for session_id in swept.session_ids:
        output.data(session_id)
    word = "would be " if dry_run else ""
    output.talk(
        f"{swept.expired} {word}expired, {swept.archived} {word}archived, "
        f"{swept.purged} {word}purged, {swept.archives_removed} archives {word}removed"
    )


def _expire_idle(here: Opened, max_age_hours: float, *, dry_run: bool) -> None:
    from contextlib import suppress

    from kato_sessions.errors import SessionNotFound
    from kato_sessions.model import HOUR_MS, duration_ms

    latest = here.store.clock() - duration_ms("--max-age-hours", max_age_hours, HOUR_MS)
    idle = [one.id for one in here.store.every() if one.last_access <= latest]
    with counted("ending idle sessions") as progress:
        for done, session_id in enumerate(() if dry_run else idle, 1):
            with suppress(SessionNotFound):
                here.store.expire(session_id)
            progress(done, len(idle))
    word = "would be " if dry_run else ""
    output.talk(f"{len(idle)} {word}ended after {max_age_hours:g} idle hours")


def _remove_all(here: Opened, *, dry_run: bool, force: bool) -> None:

    live = [one.id for one in here.store.every()]
    archives = list(here.archive.list())
    what = f"{len(live)} sessions and {len(archives)} archives"
    if dry_run:
        output.data(f"{what} would be deleted")
        return
    if not force and not (output.interactive() and output.confirmed(f"Delete {what}?")):
        raise errors.ConfigError(f"--all deletes {what}", hint="say --force too")
    with counted("deleting") as progress:
        for done, session_id in enumerate(live, 1):
            here.store.delete(session_id)
            progress(done, len(live))
    for one in archives:
        one.path.unlink(missing_ok=True)
    output.data(f"{what} deleted")


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise errors.ConfigError(f"--date {text!r} is no day", hint="--date 2025-01-18") from error


def warn(warnings: list[str]) -> None:
    """Say them; exit code 1 if there is one."""
    for line in warnings:
        output.talk(f"{output.painted('warning:', '33', sys.stderr)} {line}")
    if warnings:
        raise typer.Exit(1)
