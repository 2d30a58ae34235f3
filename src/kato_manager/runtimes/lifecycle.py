"""Steps in the life of one container, each safe to repeat, and what undoes them."""

import math
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kato_manager.errors import KatoError, PortTaken, StartFailed
from kato_manager.model import Instance
from kato_manager.runtimes import container
from kato_manager.runtimes.engine import Engine, explanation

PORT_RELEASE_S = 5.0
REMOVAL_S = 30.0
_POLL_S = 0.02


def start(engine: Engine, container_id: str, instance: Instance) -> None:
    """Raises `PortTaken` when the engine's bind loses, else `StartFailed` with its words."""
    from docker.errors import APIError

    try:
        engine.api.start(container_id)
    except APIError as error:
        said = explanation(error)
        if container.is_port_conflict(said):
            raise PortTaken(
                f"port {instance.port} is in use", hint=f"kato start --id {instance.id}"
            ) from error
        raise StartFailed(f"{instance.id} did not start: {said}") from error


def stop(engine: Engine, container_id: str, *, grace_s: float) -> None:
    """SIGTERM, then SIGKILL after the grace; what is gone or stopped stays so."""
    from docker.errors import NotFound

    with suppress(NotFound):
        engine.api.stop(container_id, timeout=math.ceil(grace_s))


def remove(engine: Engine, container_id: str) -> None:
    """Remove it and see it gone, also when somebody else is removing it."""
    from docker.errors import APIError, NotFound

    deadline = time.monotonic() + REMOVAL_S
    with suppress(NotFound):
        while time.monotonic() < deadline:
            try:
                engine.api.remove_container(container_id, v=True, force=True)
            except APIError as error:
                if "already in progress" not in explanation(error):
                    raise
            engine.api.inspect_container(container_id)
            time.sleep(_POLL_S)
        raise KatoError(f"container {container_id[:12]} does not go away")


def rename(engine: Engine, container_id: str, name: str) -> None:
    if engine.api.inspect_container(container_id)["Name"].lstrip("/") != name:
        engine.api.rename(container_id, name)


@contextmanager
def started_again_on_failure(engine: Engine, container_id: str) -> Iterator[None]:
    from docker.errors import NotFound

    try:
        yield
    except BaseException:
        with suppress(NotFound):
            engine.api.start(container_id)
        raise


def wait_until_free(engine: Engine, port: int) -> None:
    """The process that forwarded a port may outlive its container by a moment.

    Returns after some seconds anyway: then the port is another's.
    """
    if not engine.endpoint.startswith("unix://"):
        return
    deadline = time.monotonic() + PORT_RELEASE_S
    while not _is_free(port) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
