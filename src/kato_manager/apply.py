"""Carries out a plan: several steps at a time, dependants after what they need.

A failure stops its dependants only. What was done stays done, so that the same apply, run again,
continues. Nothing here decides: every step is a verb of the manager, which decides under the lock.
"""

import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from kato_manager.errors import InstanceNotFound, KatoError, PartlyFailed, RuntimeUnavailable
from kato_manager.manager import Manager
from kato_manager.model import Instance
from kato_manager.plan import DOWN_WORDS, Action, Plan, Step

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

DEFAULT_PARALLEL = 4
SIGNAL_S = 0.2  # how late a Ctrl-C may be noticed


class Result(StrEnum):
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"  # something it needs failed, or the run was interrupted


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one step; `reason` says why it was not done."""

    step: Step
    result: Result
    reason: str = ""
    hint: str = ""
    silent: bool = False  # it failed because its engine did not answer: nothing was changed
    duration_s: float = 0.0
    instance: Instance | None = None


Begun = Callable[[Step], None]
Ended = Callable[[Outcome], None]


def execute(
    plan: Plan,
    manager: Manager,
    *,
    parallel: int = DEFAULT_PARALLEL,
    timeout_s: float | None = None,
    on_begin: Begun = lambda _step: None,
    on_end: Ended = lambda _outcome: None,
    on_interrupt: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """Do the steps; returns the outcome of each that changes something, in the plan's order.

    The first Ctrl-C lets running steps finish and skips the rest; a second one raises
    `KeyboardInterrupt` at once, leaving what is unfinished to be settled by the next command.
    Callbacks are called in the calling thread.
    """
    if not plan.changes:
        return []
    return _Run(plan, manager, timeout_s, on_begin, on_end, on_interrupt).all(parallel)


class _Run:
    def __init__(
        self,
        plan: Plan,
        manager: Manager,
        timeout_s: float | None,
        on_begin: Begun,
        on_end: Ended,
        on_interrupt: Callable[[], None],
    ) -> None:
        self._origin = plan.origin
        self._manager = manager
        self._timeout_s = timeout_s
        self._on_begin, self._on_end, self._on_interrupt = on_begin, on_end, on_interrupt
        # Freed ports first: what is no longer wanted may hold one that is.
        stops_first = sorted(plan.changes, key=lambda step: step.action is not Action.STOP)
        self._waiting = {step.id: step for step in stops_first}
        self._pending = set(self._waiting)
        self._needs = _needs(plan.changes)
        self._order = [step.id for step in plan.changes]
        self._running: dict[Future[Instance | None], tuple[Step, float]] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._interrupted = False

    def all(self, parallel: int) -> list[Outcome]:
        from concurrent.futures import ThreadPoolExecutor

        pool = ThreadPoolExecutor(parallel, thread_name_prefix="apply")
        try:
            with self._interrupts():
                while self._waiting or self._running:
                    self._begin_ready(pool, parallel)
                    self._collect()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return [self._outcomes[one] for one in self._order]

    @contextmanager
    def _interrupts(self) -> Iterator[None]:
        """Ctrl-C is a flag at first: an exception could come between any two lines."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _interrupt(self, _signal: int, _frame: object) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True
        self._on_interrupt()

    def _begin_ready(self, pool: "ThreadPoolExecutor", parallel: int) -> None:
        for step in list(self._waiting.values()):
            if self._interrupted:
                self._end(Outcome(step=step, result=Result.SKIPPED, reason="interrupted"))
            elif blocker := self._failed_need(step):
                reason = f"{blocker} did not come up"
                self._end(Outcome(step=step, result=Result.SKIPPED, reason=reason))
            elif len(self._running) == parallel:
                return
            elif self._pending.isdisjoint(self._needs[step.id]):
                del self._waiting[step.id]
                self._on_begin(step)
                self._running[pool.submit(self._do, step)] = step, time.monotonic()

    def _failed_need(self, step: Step) -> str:
        if step.action is Action.STOP:
            return ""  # a dependant that would not stop is no reason to leave this one running
        outcomes = ((need, self._outcomes.get(need)) for need in step.needs)
        return next((need for need, o in outcomes if o and o.result is not Result.DONE), "")

    def _collect(self) -> None:
        from concurrent.futures import FIRST_COMPLETED, wait

        # A signal that comes right before the wait does not interrupt it, so it must end by itself.
        done, _ = wait(self._running, timeout=SIGNAL_S, return_when=FIRST_COMPLETED)
        for future in done:
            step, begun = self._running.pop(future)
            self._end(_outcome(step, future, time.monotonic() - begun))

    def _end(self, outcome: Outcome) -> None:
        step = outcome.step
        self._waiting.pop(step.id, None)
        self._pending.discard(step.id)
        self._outcomes[step.id] = outcome
        self._on_end(outcome)

    def _do(self, step: Step) -> Instance | None:
        """One step, in a thread of the pool."""
        spec = step.spec
        if spec is None:
            return self._stopped(step.id)
        changed = {change.name for change in step.changes}
        if spec.start == "on-demand" and step.action is not Action.REPLACE:
            return self._manager.declare(spec, origin=self._origin)
        if step.action is Action.REPLACE and "runtime" in changed:
            return self._manager.restart(step.id, spec=spec, timeout_s=self._timeout_s)
        if step.action is Action.REPLACE:
            return self._manager.replace(
                step.id, spec, origin=self._origin, timeout_s=self._timeout_s
            )
        return self._manager.start(spec, origin=self._origin, timeout_s=self._timeout_s)

    def _stopped(self, instance_id: str) -> Instance | None:
        try:
            return self._manager.stop(instance_id)
        except InstanceNotFound:  # somebody else was quicker
            return None


def _outcome(step: Step, future: "Future[Instance | None]", duration_s: float) -> Outcome:
    error = future.exception()
    if error is None:
        return Outcome(
            step=step, result=Result.DONE, duration_s=duration_s, instance=future.result()
        )
    if not isinstance(error, KatoError):
        error = KatoError(f"{type(error).__name__}: {error}")
    return Outcome(
        step=step,
        result=Result.FAILED,
        reason=error.message,
        hint=error.hint,
        silent=isinstance(error, RuntimeUnavailable),
        duration_s=duration_s,
    )


def _needs(steps: Collection[Step]) -> Mapping[str, set[str]]:
    """The ids whose steps come before each step; a stop waits for the stops of its dependants."""
    needs: dict[str, set[str]] = {step.id: set() for step in steps}
    for step in steps:
        for other in step.needs:
            if step.action is not Action.STOP:
                needs[step.id].add(other)
            elif other in needs:
                needs[other].add(step.id)
    return needs


def observed(manager: Manager, ids: Iterable[str]) -> tuple[Mapping[str, Instance], dict[str, str]]:
    """What is recorded, and what is seen of the given instances: the world a plan is made from."""
    recorded = manager.registry.read()
    chosen = [recorded[one] for one in ids if one in recorded]
    return recorded, {seen.instance.id: seen.word for seen in manager.status(chosen)}


def verified(outcomes: Iterable[Outcome], manager: Manager) -> list[Outcome]:
    """Look again: what came up and is already down is a failure after all."""
    outcomes = list(outcomes)
    done = {o.step.id for o in outcomes if o.result is Result.DONE and o.step.spec}
    _, words = observed(manager, done) if done else ({}, {})
    return [_seen(one, words.get(one.step.id, "")) for one in outcomes]


def _seen(outcome: Outcome, word: str) -> Outcome:
    spec = outcome.step.spec
    if spec is None or spec.start == "on-demand" or word not in DOWN_WORDS:
        return outcome
    return replace(outcome, result=Result.FAILED, reason=f"came up, and now is {word}")


def raise_failures(outcomes: Iterable[Outcome]) -> None:
    """Raise `PartlyFailed` naming every step that was not done and why.

    `RuntimeUnavailable` instead when none was done and no engine answered: nothing was changed.
    """
    outcomes = list(outcomes)
    lost = [one for one in outcomes if one.result is not Result.DONE]
    if not lost:
        return
    lines = [f"{one.step.id}: {one.result}: {_indented(one.reason)}" for one in lost]
    count = f"{len(lost)} step{'s' if len(lost) > 1 else ''} not done"
    silent = all(one.silent or one.result is Result.SKIPPED for one in outcomes)
    kind = RuntimeUnavailable if silent and any(one.silent for one in lost) else PartlyFailed
    raise kind("\n  ".join([count, *lines]), hint="the same command continues")


def _indented(reason: str) -> str:
    """The last lines of a log stand below what they explain."""
    return reason.replace("\n", "\n    ")
