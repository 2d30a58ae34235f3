"""What is recorded about instances beside what their engines say."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kato_manager.engines import Runtimes
from kato_manager.errors import RuntimeUnavailable
from kato_manager.model import Instance, Status
from kato_manager.runtimes.base import Observed


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One instance as recorded and as observed; `observed` is None where the engine was silent."""

    instance: Instance
    observed: Observed | None

    @property
    def word(self) -> str:
        """One of: starting, running, exited, missing, unreachable, stopping, stopped, failed."""
        if self.observed is None:
            return "unreachable"
        if self.observed.state == "running":
            return str(self.instance.status) if self.instance.is_live else "running"
        resting = {Status.STOPPED, Status.FAILED}
        return str(self.instance.status if self.instance.status in resting else self.observed.state)


def observe(instances: Iterable[Instance], runtimes: Runtimes) -> list[Seen]:
    """Every instance with what its engine says; one request per engine, none per instance."""
    chosen = list(instances)
    engines = {one.runtime for one in chosen} - {"local", ""}
    listed = {name: _listed(name, runtimes) for name in engines}
    return [Seen(instance=one, observed=_observed(one, runtimes, listed)) for one in chosen]


def _listed(name: str, runtimes: Runtimes) -> list[Observed] | None:
    """All that an engine holds, in one request; None when it does not answer."""
    try:
        return [found.observed for found in runtimes[name].find()]
    except RuntimeUnavailable:
        return None


def _observed(
    instance: Instance, runtimes: Runtimes, listed: Mapping[str, list[Observed] | None]
) -> Observed | None:
    if instance.handle is None:
        return Observed(state="missing")
    if instance.runtime == "local":
        return runtimes["local"].inspect(instance.handle)
    observed = listed[instance.runtime]
    if observed is None:
        return None
    if mine := next((one for one in observed if one.handle == instance.handle), None):
        return mine
    # Not in the list: gone, unless it is on another engine, of which nothing is known.
    gone = runtimes[instance.runtime].owns(instance.handle)
    return Observed(state="missing", handle=instance.handle) if gone else None
