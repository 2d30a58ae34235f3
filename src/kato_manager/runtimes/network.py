"""The network that containers share.

An engine lets two networks of one name come to be when they are created at the same time, and from
then on starts nothing on that name: it is ambiguous.
"""

import random
import threading
import time
from contextlib import suppress
from typing import Any

from kato_manager.errors import Conflict
from kato_manager.runtimes.engine import Engine, explanation

SETTLING_S = 10.0
_LONGEST_PAUSE_S = 0.1
_in_this_process = threading.Lock()


def ensure(engine: Engine, name: str) -> None:
    """Make the network be there, once, whoever else makes it at this moment.

    Who finds another beside its own takes its own back and looks again, so that one is left.
    Raises `Conflict` when there are two that stay.
    """
    deadline = time.monotonic() + SETTLING_S
    with _in_this_process:
        while len(found := _named(engine, name)) != 1:
            if not found and _created(engine, name):
                return
            if time.monotonic() > deadline:
                raise Conflict(
                    f"there are {len(found)} networks called {name} on {engine.endpoint}",
                    hint=f"docker network ls -f name={name}, then docker network rm ID",
                )
            time.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311 - not both at one moment


def _created(engine: Engine, name: str) -> bool:
    """Whether it is there now, and alone."""
    from docker.errors import APIError

    try:
        made = engine.api.create_network(name)["Id"]
    except APIError as error:
        if "already" not in explanation(error):
            raise
        return False
    if len(_named(engine, name)) == 1:
        return True
    with suppress(APIError):  # a container is on it already: then the other one goes
        engine.api.remove_network(made)
    return False


def _named(engine: Engine, name: str) -> list[Any]:
    """The engine's filter matches parts of names too."""
    return [one for one in engine.api.networks(names=[name]) if one["Name"] == name]
