"""Does one thing with the runtime and is killed at a named step, as `kill -9` would.

    killed.py VERB STEP HOME REGISTRY ENDPOINT < {"instance": ..., "old": handle or null}

`STEP` is a function of `lifecycle` or `engine.create`; the kill comes right after it.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from engines import listen
from kato_manager.model import instance_from_json
from kato_manager.runtimes import lifecycle
from kato_manager.runtimes.docker import DockerRuntime
from kato_manager.runtimes.engine import Engine


def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
    def replaced(*args: Any, **given: Any) -> Any:
        function(*args, **given)
        os.kill(os.getpid(), signal.SIGKILL)

    return replaced


def main() -> None:
    verb, step, home, registry_id, endpoint = sys.argv[1:]
    owner = Engine if step == "create" else lifecycle
    setattr(owner, step, deadly(getattr(owner, step)))
    given = json.load(sys.stdin)
    instance = instance_from_json(given["instance"])
    runtime = DockerRuntime(registry_id=lambda: registry_id, home=home, engine=Engine(endpoint))
    if verb == "start":
        runtime.start(instance, listen(instance.port))
    else:
        runtime.replace(given["old"], instance, None, lambda _handle: None)


if __name__ == "__main__":
    main()
