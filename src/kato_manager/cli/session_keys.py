"""`sessions new-key|rewrite`: encryption at rest, its keys, and what was kept before."""

import os
from pathlib import Path
from typing import Annotated

import typer

from kato_manager import errors
from kato_manager.cli import output
from kato_manager.cli.session_care import counted, warn
from kato_manager.cli.sessions import Opened, StoreUrl, opened
from kato_manager.settings import Settings

_DEFAULT = "sessions.key"


def add_to(group: typer.Typer) -> None:
    group.command("new-key")(new_key)
    group.command("rewrite")(rewrite)


def new_key(
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The key file; config.yaml's if set."),
    ] = None,
) -> None:
    """Add a new key for encryption at rest to the key file.

    The newest key seals, all of them open. Without its key a session cannot be read: keep a copy.
    """
    from kato_manager.gateway.sessions.places import places_of
    from kato_sessions.cipher import add_key

    settings = Settings.load(os.environ)
    configured = places_of(settings, os.environ).protection.key_file
    place = (file or configured or settings.home / _DEFAULT).expanduser().absolute()
    try:
        name = add_key(place)
    except OSError as error:
        raise errors.ConfigError(f"{place}: {error.strerror}") from error
    output.data(f"{name}  {place}")
    if place == configured:
        output.talk(
            "kato gateway restart seals with it, kato sessions rewrite what is there already"
        )
    else:
        output.talk(f"in config.yaml: sessions: {{encryption: {{key_file: {place}}}}}")


def rewrite(*, store: StoreUrl = None) -> None:
    """Write every session and archive again, as config.yaml says now.

    After `redact` or `encryption` was changed, or a new key was made: older sessions follow.
    """
    with opened(store) as here:
        sessions, failed = _sessions(here)
        archives, broken = _archives(here)
        if (compact := getattr(here.store.backend, "compact", None)) is not None:
            compact()
    output.data(f"{sessions} sessions and {archives} archives rewritten")
    warn([*failed, *broken])


def _sessions(here: Opened) -> tuple[int, list[str]]:
    from kato_sessions.errors import RecordCorrupt

    done, failed = 0, []
    in_all = here.store.count(live=False)
    with counted("rewriting sessions") as progress:
        for number, one in enumerate(here.store.every(live=False), 1):
            try:
                done += here.store.rewrite(one.id)
            except RecordCorrupt as error:
                failed.append(str(error))
            progress(number, in_all)
    return done, failed


def _archives(here: Opened) -> tuple[int, list[str]]:
    from kato_sessions.errors import RecordCorrupt

    done, failed = 0, []
    for one in here.archive.list():
        try:
            here.archive.rewrite(here.store, one)
            done += 1
        except RecordCorrupt as error:
            failed.append(str(error))
    return done, failed
