"""A plan in a file: shown now, carried out later, unless the world has changed."""

import json
import os
from pathlib import Path

from kato_manager import plan as planning
from kato_manager.apply import observed
from kato_manager.cli import output
from kato_manager.errors import ConfigError, Conflict
from kato_manager.manager import Manager
from kato_manager.plan import Plan


def save(made: Plan, path: Path) -> None:
    """For the owner only: a plan holds the environment of its instances."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)  # an older file may have been more open
        json.dump(planning.to_document(made), file, indent=2, ensure_ascii=False)
        file.write("\n")
    output.talk(f"saved; carry it out with: kato apply {path}")


def open_saved(path: Path, manager: Manager) -> Plan:
    """A saved plan; raises `Conflict` when what it was made from has changed."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {(error.strerror or '').lower()}") from error
    except ValueError as error:
        hint = f"a file of instances is given with -f: kato apply -f {path}"
        raise ConfigError(f"{path}: is no plan", hint=hint) from error
    made = planning.from_document(data, str(path))
    about = planning.concerned(made)
    recorded, words = observed(manager, about)
    if planning.world(recorded, words, about) != made.world:
        raise Conflict(
            f"{path}: what the plan was made from has changed since",
            hint="make it anew: kato plan -f FILE -o " + str(path),
        )
    return made
