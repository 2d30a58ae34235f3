"""`top`: a live view of what instances do."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kato_manager.cli import output
from kato_manager.cli.options import As, Format

if TYPE_CHECKING:
    from rich.table import Table

INTERVAL_S = 1.0
_COLUMNS = "ID STATUS CPU% MEMORY REQ/S IN-FLIGHT WS ERRORS P50 P95".split()

Interval = Annotated[
    float, typer.Option("--interval", "-i", metavar="SECONDS", min=0.1, help="Between two looks.")
]


def register(app: typer.Typer) -> None:
    app.command("top")(top)


def top(interval: Interval = INTERVAL_S, *, format_: As = Format.table) -> None:
    """Show live what instances use and answer.

    Without a terminal, once.
    """
    from kato_manager.cli.opening import open_manager
    from kato_manager.gateway import counters, stats

    manager = open_manager()
    folder = counters.folder(manager.settings.home)

    def look() -> dict[str, Any]:
        return stats.document(manager, counters.read(folder))

    if format_ is Format.json:
        output.document("instances", look()["instances"])
        return
    show(look, interval_s=interval)


def show(look: Callable[[], Mapping[str, Any]], *, interval_s: float = INTERVAL_S) -> None:
    """Print what `look` finds, again and again on a terminal; Ctrl-C ends it."""
    from rich.console import Console
    from rich.live import Live

    console = Console(no_color="NO_COLOR" in os.environ)
    before, seen_s = look(), time.monotonic()
    if not console.is_terminal:
        rows = _rows(before, before, 1.0)
        output.table(_COLUMNS, rows)
        return
    first = _table(_rows(before, before, 1.0))
    with suppress(KeyboardInterrupt), Live(first, console=console, auto_refresh=False) as live:
        while True:
            time.sleep(interval_s)
            after, now_s = look(), time.monotonic()
            live.update(_table(_rows(before, after, now_s - seen_s)), refresh=True)
            before, seen_s = after, now_s


def _rows(
    before: Mapping[str, Any], after: Mapping[str, Any], passed_s: float
) -> list[tuple[str, ...]]:
    """The busiest first; rates between two looks."""
    requests = {one["id"]: one["requests"] for one in before["instances"]}
    rated = [
        ((one["requests"] - requests.get(one["id"], one["requests"])) / passed_s, one)
        for one in after["instances"]
    ]
    rated.sort(key=lambda pair: (-pair[0], pair[1]["id"]))
    return [_row(one, max(0.0, rate)) for rate, one in rated]


def _row(one: Mapping[str, Any], rate: float) -> tuple[str, ...]:
    memory = one["memory_bytes"]
    return (
        one["id"],
        one["status"],
        _shown(one["cpu_percent"], "{:.0f}"),
        "-" if memory is None else f"{memory / 2**20:.0f} MiB",
        f"{rate:.1f}",
        str(one["in_flight"]),
        str(one["websockets"]),
        str(one["upstream_errors"]),
        _shown(one["p50_ms"], "{:.1f} ms"),
        _shown(one["p95_ms"], "{:.1f} ms"),
    )


def _shown(value: float | None, text: str) -> str:
    return "-" if value is None else text.format(value)


def _table(rows: list[tuple[str, ...]]) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for index, column in enumerate(_COLUMNS):
        table.add_column(column, justify="left" if index < 2 else "right")  # noqa: PLR2004
    for row in rows:
        table.add_row(*row)
    return table
