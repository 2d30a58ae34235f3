"""`exec`, `stats` and `events`: looking into what runs."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kato_manager.cli import output
from kato_manager.cli.options import As, Format, Group, Id, Label, Words

if TYPE_CHECKING:
    from kato_manager.manager import Manager
    from kato_manager.model import Instance
    from kato_manager.runtimes.base import Usage


def register(app: typer.Typer) -> None:
    app.command("exec")(exec_)
    app.command("stats")(stats)
    app.command("events")(events)


def exec_(
    instance: Id,
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...")],
    *,
    tty: Annotated[
        bool | None,
        typer.Option(
            "--tty/--no-tty", help="With a terminal; by default if we have one.", show_default=False
        ),
    ] = None,
) -> None:
    """Run a command beside the processor.

    Its exit code is ours.
    """
    from kato_manager.cli.opening import open_manager
    from kato_manager.errors import InstanceNotFound, KatoError
    from kato_manager.runtimes.base import Exec
    from kato_manager.selection import select

    manager = open_manager()
    (chosen,) = select(manager.registry.read(), [instance])[:1]
    if chosen.handle is None:
        raise InstanceNotFound(
            f"instance {chosen.id!r} does not run", hint=f"kato start --id {chosen.id}"
        )
    runtime = manager.runtimes[chosen.runtime]
    if not isinstance(runtime, Exec):
        raise KatoError(f"runtime {chosen.runtime} cannot run commands in an instance")
    terminal = output.interactive() if tty is None else tty
    raise typer.Exit(runtime.exec(chosen.handle, tuple(command), tty=terminal))


def stats(
    words: Words = None, group: Group = None, label: Label = None, *, format_: As = Format.table
) -> None:
    """Print what instances use: cpu, memory, network.

    Exit code 3 when one that is named does not run, 5 when an engine did not answer.
    """
    from kato_manager.cli.opening import open_manager
    from kato_manager.selection import select

    manager = open_manager()
    chosen = select(manager.registry.read(), words or (), groups=group or (), labels=label or ())
    seen = manager.status(chosen)
    running = [one.instance for one in seen if one.observed and one.observed.state == "running"]
    for one in seen:
        if one.instance not in running:
            output.talk(f"{one.instance.id}: {one.word}")
    known = _measured(manager, running)
    if format_ is Format.json:
        output.document("stats", [_as_json(one, use) for one, use in known.items()])
    else:
        columns = ("ID", "CPU", "MEMORY", "LIMIT", "RECEIVED", "SENT", "PIDS")
        output.table(columns, [_row(one, use) for one, use in known.items()])
    if any(one.observed is None for one in seen):
        raise typer.Exit(5)
    if words and len(running) < len(seen):
        raise typer.Exit(3)


def _measured(manager: "Manager", running: "list[Instance]") -> "dict[str, Usage]":
    """What each of them uses; why that cannot be told of one is said."""
    from concurrent.futures import ThreadPoolExecutor

    from kato_manager.errors import KatoError
    from kato_manager.runtimes.base import Stats

    def measure(one: "Instance") -> "Usage | None":
        runtime = manager.runtimes[one.runtime]
        try:
            return runtime.stats(one.handle) if isinstance(runtime, Stats) and one.handle else None
        except KatoError as problem:
            output.talk(f"{one.id}: {problem}")
            return None

    # An engine takes a second or two to measure one container.
    with ThreadPoolExecutor(32) as pool:
        usages = zip(running, pool.map(measure, running), strict=True)
        return {one.id: usage for one, usage in usages if usage}


def events(*, format_: As = Format.table) -> None:
    """Print what happens to instances, as it happens."""
    from kato_manager import events as happenings
    from kato_manager.cli.opening import open_manager
    from kato_manager.model import timestamp

    for event in happenings.follow(open_manager()):
        if format_ is Format.json:
            output.lines(
                [
                    {
                        "version": output.JSON_VERSION,
                        "at": timestamp(event.at),
                        "id": event.instance_id,
                        "event": event.kind,
                        "detail": event.detail,
                    }
                ]
            )
        else:
            output.data(
                f"{timestamp(event.at)}  {event.instance_id}  {event.kind}  {event.detail}".rstrip()
            )


def _as_json(instance_id: str, usage: "Usage") -> dict[str, Any]:
    from dataclasses import asdict

    return {"id": instance_id, **asdict(usage)}


def _row(instance_id: str, usage: "Usage") -> tuple[str, ...]:
    return (
        instance_id,
        f"{usage.cpu_percent:.1f}%",
        _bytes(usage.memory_bytes),
        _bytes(usage.memory_limit_bytes),
        _bytes(usage.received_bytes),
        _bytes(usage.sent_bytes),
        "-" if usage.pids is None else str(usage.pids),
    )


def _bytes(count: int | None) -> str:
    if count is None:
        return "-"
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004 - decimal units
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
