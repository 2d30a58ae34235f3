"""`gateway`: the one port that reaches every instance."""

import os
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from kato_manager.cli import output
from kato_manager.cli.options import As, Format
from kato_manager.gateway import lifecycle
from kato_manager.gateway.limits import limits_from
from kato_manager.settings import Settings

Host = Annotated[str, typer.Option("--host", help="Address to listen on.")]
Workers = Annotated[int, typer.Option("--workers", min=1, max=64, help="Processes that serve.")]
AllowHost = Annotated[
    list[str] | None,
    typer.Option("--allow-host", help="Another Host header to accept.", show_default=False),
]
AllowOrigin = Annotated[
    list[str] | None,
    typer.Option("--allow-origin", help="Another Origin to accept.", show_default=False),
]
Limit = Annotated[
    list[str] | None,
    typer.Option("--limit", metavar="NAME=VALUE", help="A limit of its own.", show_default=False),
]

Logged = Annotated[bool, typer.Option("--access-log/--no-access-log", help="Log every request.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="The one port that reaches every instance.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    for command in (up, down, restart, status, run, install):
        group.command()(command)
    app.add_typer(group, name="gateway")


def up(
    host: Host = "127.0.0.1",
    workers: Workers = 1,
    allow_host: AllowHost = None,
    allow_origin: AllowOrigin = None,
    limit: Limit = None,
    *,
    access_log: Logged = True,
    format_: As = Format.table,
) -> None:
    """Bring the gateway up, unless it is."""
    settings = Settings.load(os.environ)
    options = _options(host, workers, allow_host, allow_origin, limit, access_log=access_log)
    was_up = lifecycle.status(settings) is not None
    with output.progress("bringing the gateway up"):
        running = lifecycle.up(settings, options)
    _answer(running, f"{running.url}  up", format_)
    if was_up and options != lifecycle.Options():
        output.talk("it was up already and keeps its options; for others: kato gateway down")


def down(*, format_: As = Format.table) -> None:
    """End the gateway; instances go on.

    It answers what is in flight before.
    """
    with output.progress("ending the gateway"):
        ended = lifecycle.down(Settings.load(os.environ))
    _answer(None, "gateway down" if ended else "gateway was not up", format_)


def restart(*, format_: As = Format.table) -> None:
    """Start it again with code and config.yaml as they are now.

    No connection is refused meanwhile.
    """
    settings = Settings.load(os.environ)
    with output.progress("starting the gateway again"):
        lifecycle.upgrade(settings) or lifecycle.up(settings)
    _answer(lifecycle.status(settings), "gateway restarted", format_)


def status(*, format_: As = Format.table) -> None:
    """Say whether the gateway is up. Exit code 3 when it is not."""
    running = lifecycle.status(Settings.load(os.environ))
    said = f"{running.url}  up  pid {running.pid}  workers {running.workers}" if running else ""
    _answer(running, said or "gateway down", format_)
    if running is None:
        raise typer.Exit(3)


def run(
    host: Host = "127.0.0.1",
    workers: Workers = 1,
    allow_host: AllowHost = None,
    allow_origin: AllowOrigin = None,
    limit: Limit = None,
    *,
    access_log: Logged = True,
) -> None:
    """Be the gateway, in the foreground: for systemd and the like."""
    settings = Settings.load(os.environ)
    options = _options(host, workers, allow_host, allow_origin, limit, access_log=access_log)
    listener = lifecycle.listening(settings.home, options.host, settings.gateway_port)
    listener.set_inheritable(True)
    words = [*lifecycle.arguments(settings.home, options), "--fd", str(listener.fileno())]
    os.execv(sys.executable, [sys.executable, *words])  # noqa: S606 - it takes our place


def install(
    host: Host = "127.0.0.1",
    workers: Workers = 1,
    allow_host: AllowHost = None,
    allow_origin: AllowOrigin = None,
    limit: Limit = None,
    *,
    access_log: Logged = True,
) -> None:
    """Write a systemd user unit that keeps it up.

    And say how to enable it.
    """
    from kato_manager.gateway import unit

    options = _options(host, workers, allow_host, allow_origin, limit, access_log=access_log)
    path = unit.install(Settings.load(os.environ), os.environ, options)
    output.data(str(path))
    output.talk(f"systemctl --user enable --now {path.name}")


def _answer(running: lifecycle.Running | None, said: str, format_: Format) -> None:
    if format_ is Format.table:
        output.data(said)
        return
    answer = {**asdict(running), "url": running.url} if running else {}
    output.document("gateway", {"status": "up" if running else "down", **answer})


def _options(
    host: str,
    workers: int,
    allow_host: list[str] | None,
    allow_origin: list[str] | None,
    limit: list[str] | None,
    *,
    access_log: bool,
) -> lifecycle.Options:
    limits_from(limit or [])
    return lifecycle.Options(
        host=host,
        workers=workers,
        allow_hosts=tuple(allow_host or ()),
        allow_origins=tuple(allow_origin or ()),
        limits=tuple(limit or ()),
        access_log=access_log,
    )
