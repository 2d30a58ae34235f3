"""What a command works with: settings, registry and manager of this user."""

import os
from dataclasses import replace
from functools import cache, partial

from kato_manager.cli import output
from kato_manager.gateway.drain import drain
from kato_manager.manager import Manager
from kato_manager.settings import Settings


def open_manager(lock_timeout_s: float | None = None, *, settle: bool = True) -> Manager:
    """The manager of this user's `KATO_HOME`; what it has to say goes to stderr.

    What a command that died left unfinished is settled first.
    """
    settings = Settings.load(os.environ)
    if lock_timeout_s is not None:
        settings = replace(settings, lock_timeout_s=lock_timeout_s)
    # Once each: of twenty instances every one may have the same to say.
    note = cache(output.talk)
    manager = Manager.of(settings, os.environ, on_note=note, drain=partial(drain, settings.home))
    if settle:
        manager.settle_all()
    return manager
