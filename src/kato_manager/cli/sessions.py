"""`sessions`: what the gateway keeps of them, and any other store with `--store URL`."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kato_manager import errors
from kato_manager.cli import output
from kato_manager.cli.options import As, Format
from kato_manager.settings import Settings

if TYPE_CHECKING:
    from kato_manager.gateway.sessions.places import Places
    from kato_sessions.archive import Archive
    from kato_sessions.store import Store

StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="sqlite:PATH, files:PATH or redis://HOST:PORT/DB; the gateway's if left out.",
        show_default=False,
    ),
]
SessionId = Annotated[str, typer.Argument(metavar="SESSION", help="Its id.")]
User = Annotated[str | None, typer.Option("--user-id", help="Of this user.", show_default=False)]
Node = Annotated[str | None, typer.Option("--node-id", help="Of this node.", show_default=False)]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Where to write.", show_default=False),
]
Most = Annotated[int, typer.Option("--limit", min=1, help="At most this many.")]
_EXITS = {
    "session_exists": errors.Conflict,
    "version_conflict": errors.Conflict,
    "session_limit": errors.Conflict,
    "session_invalid": errors.ConfigError,
    "session_sealed": errors.ConfigError,
    "store_unavailable": errors.RuntimeUnavailable,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A store with what belongs to it."""

    store: "Store"
    archive: "Archive"
    places: "Places"
    home: Path


def register(app: typer.Typer) -> None:
    from kato_manager.cli import session_bindings, session_care, session_keys, session_stores

    group = typer.Typer(
        help="Sessions: list, show, move, archive, clean up.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    commands: dict[str, Callable[..., None]] = {
        "list": list_,
        "show": show,
        "history": history,
        "create": create,
        "delete": delete,
        "export": export,
        "import": import_,
    }
    for name, command in commands.items():
        group.command(name)(command)
    for one in (session_bindings, session_care, session_stores, session_keys):
        one.add_to(group)
    app.add_typer(group, name="sessions")


@contextmanager
def opened(url: str | None) -> Iterator[Opened]:
    """The store; what goes wrong in it becomes an error with an exit code."""
    from kato_manager.gateway.sessions.places import places_of

    settings = Settings.load(os.environ)
    places = places_of(settings, os.environ, url)
    if places.url == "memory:":
        raise errors.ConfigError(
            "sessions are kept in the memory of the gateway, which no command can read",
            hint="storage_type: sqlite below sessions: in config.yaml, or curl .../sessions",
        )
    with told(), places.open_store(by=f"command {os.getpid()}") as store:
        archive = places.open_archive()
        yield Opened(store=store, archive=archive, places=places, home=settings.home)


@contextmanager
def told() -> Iterator[None]:
    """What goes wrong with sessions becomes an error with an exit code."""
    from kato_sessions.errors import SessionError, SessionNotFound

    try:
        yield
    except SessionNotFound as error:
        raise errors.InstanceNotFound(str(error), hint=error.hint) from error
    except SessionError as error:
        kind = _EXITS.get(error.code, errors.KatoError)
        raise kind(str(error), hint=error.hint) from error


def list_(
    user_id: User = None,
    node_id: Node = None,
    limit: Most = 100,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Ended ones too.")] = False,
    format_: As = Format.table,
    store: StoreUrl = None,
) -> None:
    """List sessions, newest first."""
    from kato_manager.gateway.sessions import shown

    with opened(store) as here:
        now = here.store.clock()
        every = here.store.every(user_id=user_id, node_id=node_id, live=not everything)
        found = [one for one, _ in zip(every, range(limit), strict=False)]
    if format_ is Format.json:
        output.document("sessions", [shown.session(one, now) for one in found])
        return
    rows = [
        (
            one.id,
            one.state_at(now).value,
            one.node_id or "",
            one.user_id or "",
            str(one.counters.items),
            shown.iso(one.last_access),
        )
        for one in found
    ]
    output.table(("SESSION", "STATE", "NODE", "USER", "ITEMS", "LAST USED"), rows)


def show(session_id: SessionId, *, store: StoreUrl = None) -> None:
    """Show one session, ended or not, as JSON."""
    from kato_manager.gateway.sessions import shown
    from kato_sessions.errors import SessionNotFound

    with opened(store) as here:
        session = here.store.peek(session_id)
        if session is None:
            raise SessionNotFound(session_id)
        output.document("session", shown.session(session, here.store.clock()))


def history(
    session_id: SessionId,
    limit: Most = 100,
    *,
    format_: As = Format.table,
    store: StoreUrl = None,
) -> None:
    """Show what was asked in a session, and how it went."""
    from kato_manager.gateway.sessions import shown
    from kato_sessions.errors import SessionNotFound

    with opened(store) as here:
        if here.store.peek(session_id) is None:
            raise SessionNotFound(session_id)
        items = here.store.items(session_id, limit=limit)
    if format_ is Format.json:
        output.document("items", [shown.item(one) for one in items])
        return
    rows = [
        (
            str(one.seq),
            shown.iso(one.ts),
            one.kind,
            one.instance_id or "",
            "" if one.status is None else str(one.status),
            "" if one.latency_ms is None else f"{one.latency_ms:.1f}",
            one.content if isinstance(one.content, str) else json.dumps(one.content),
        )
        for one in items
    ]
    output.table(("#", "AT", "KIND", "INSTANCE", "STATUS", "MS", "CONTENT"), rows)


def create(
    user_id: User = None,
    node_id: Node = None,
    session_id: Annotated[
        str | None, typer.Option("--session-id", help="Its id; made up if left out.")
    ] = None,
    ttl: Annotated[int | None, typer.Option("--ttl", metavar="SECONDS", min=1)] = None,
    *,
    store: StoreUrl = None,
) -> None:
    """Create a session and print its id."""
    from kato_sessions.store import FROM_PROFILE

    with opened(store) as here:
        ttl_ms = FROM_PROFILE if ttl is None else ttl * 1000
        made = here.store.create(session_id, user_id=user_id, node_id=node_id, ttl_ms=ttl_ms)
        output.data(made.id)


def delete(session_id: SessionId, *, store: StoreUrl = None) -> None:
    """Delete a session; learned patterns stay."""
    with opened(store) as here:
        here.store.delete(session_id)
    output.data(f"{session_id}  deleted")


def export(session_id: SessionId, file: Output = None, *, store: StoreUrl = None) -> None:
    """Write a session with its history as JSON, to a file or to stdout."""
    from kato_manager.files import write_atomically
    from kato_sessions.transfer import export_session, to_text

    with opened(store) as here:
        text = to_text(export_session(here.store, session_id))
    if file is None:
        output.data(text)
    else:
        write_atomically(file, text + "\n")
        output.data(str(file))


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="An export; - is stdin.")],
    *,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Over a live one.")] = False,
    store: StoreUrl = None,
) -> None:
    """Read a session that `export` wrote."""
    from kato_sessions.transfer import import_session

    text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    try:
        document = json.loads(text)
    except ValueError as error:
        raise errors.ConfigError(f"{file}: no JSON: {error}") from error
    with opened(store) as here:
        output.data(import_session(here.store, document, overwrite=overwrite).id)
