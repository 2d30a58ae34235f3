"""Carrying out a plan: in parallel, dependants after, failures stop dependants only."""

import signal
import threading
from dataclasses import dataclass, field

import pytest

from kato_manager.apply import Outcome, execute, raise_failures
from kato_manager.errors import InstanceNotFound, PartlyFailed, StartFailed
from kato_manager.model import Difference, InstanceSpec
from kato_manager.plan import Action, Plan, Step

DEADLINE_S = 10


@dataclass
class FakeManager:
    """Remembers its verbs; `refused` ids fail, `gate` holds every start until it opens."""

    refused: set[str] = field(default_factory=set)
    gate: threading.Barrier | None = None
    calls: list[tuple[str, str]] = field(default_factory=list)

    def start(self, spec, **_how):
        self._do("start", spec.id)

    def replace(self, instance_id, _spec, **_how):
        self._do("replace", instance_id)

    def restart(self, instance_id, **_how):
        self._do("restart", instance_id)

    def declare(self, spec, **_how):
        self._do("declare", spec.id)

    def stop(self, instance_id):
        self._do("stop", instance_id)

    def _do(self, verb: str, instance_id: str) -> None:
        if self.gate:
            self.gate.wait(DEADLINE_S)
        self.calls.append((verb, instance_id))
        if instance_id in self.refused:
            raise StartFailed(f"{instance_id} would not", hint="look at its log")


def start(instance_id: str, *needs: str, action: Action = Action.START, **given) -> Step:
    changes = given.pop("changes", ())
    spec = InstanceSpec(id=instance_id, depends_on=needs, **given)
    return Step(action=action, id=instance_id, cause="c", spec=spec, needs=needs, changes=changes)


def stop(instance_id: str, *needs: str) -> Step:
    return Step(action=Action.STOP, id=instance_id, cause="c", needs=needs)


def run(manager: FakeManager, *steps: Step, **given) -> list[Outcome]:
    return execute(Plan(steps=steps, world=""), manager, **given)


def results(outcomes: list[Outcome]) -> dict[str, str]:
    return {one.step.id: one.result.value for one in outcomes}


def test_each_action_is_its_verb():
    manager = FakeManager()
    moved = Difference(name="runtime", old="local", new="docker", needs_restart=True)

    outcomes = run(
        manager,
        start("a"),
        start("b", action=Action.REPLACE),
        start("c", action=Action.REPLACE, changes=(moved,)),
        start("d", action=Action.UPDATE),
        start("e", start="on-demand"),
        start("f", action=Action.KEEP),
        stop("g"),
        parallel=1,
    )

    assert manager.calls == [
        ("stop", "g"),
        ("start", "a"),
        ("replace", "b"),
        ("restart", "c"),
        ("start", "d"),
        ("declare", "e"),
    ]
    assert results(outcomes) == dict.fromkeys("abcdeg", "done")


def test_as_many_steps_run_at_once_as_allowed():
    manager = FakeManager(gate=threading.Barrier(3))  # opens only when three wait in it

    outcomes = run(manager, start("a"), start("b"), start("c"), parallel=3)

    assert results(outcomes) == dict.fromkeys("abc", "done")


def test_dependants_come_after_and_stops_the_other_way_round():
    up, down = FakeManager(), FakeManager()

    run(up, start("web", "db"), start("db"), parallel=8)
    run(down, stop("db"), stop("web", "db"), parallel=8)

    assert up.calls == [("start", "db"), ("start", "web")]
    assert down.calls == [("stop", "web"), ("stop", "db")]


def test_a_failure_stops_its_dependants_only():
    manager = FakeManager(refused={"db"})

    outcomes = run(
        manager, start("db"), start("api", "db"), start("web", "api"), start("other"), parallel=2
    )

    assert results(outcomes) == {
        "db": "failed",
        "api": "skipped",
        "web": "skipped",
        "other": "done",
    }
    with pytest.raises(PartlyFailed) as error:
        raise_failures(outcomes)
    assert error.value.message == (
        "3 steps not done\n"
        "  db: failed: db would not\n"
        "  api: skipped: db did not come up\n"
        "  web: skipped: api did not come up"
    )
    assert error.value.hint == "the same command continues"


def test_what_is_already_gone_is_stopped():
    class Gone(FakeManager):
        def stop(self, instance_id):
            raise InstanceNotFound(instance_id)

    assert results(run(Gone(), stop("a"))) == {"a": "done"}


def test_a_bug_in_one_step_is_its_failure_and_not_the_end():
    class Broken(FakeManager):
        def start(self, spec, **_how):
            if spec.id == "a":
                raise ZeroDivisionError("oh")
            super().start(spec)

    outcomes = run(Broken(), start("a"), start("b"))

    assert results(outcomes) == {"a": "failed", "b": "done"}
    assert outcomes[0].reason == "ZeroDivisionError: oh"


def test_the_first_interrupt_finishes_what_runs_and_skips_the_rest():
    manager, told = FakeManager(), []

    outcomes = run(
        manager,
        start("a"),
        start("b", "a"),
        on_begin=lambda _step: signal.raise_signal(signal.SIGINT),
        on_interrupt=lambda: told.append("told"),
    )

    assert told == ["told"]
    assert manager.calls == [("start", "a")]
    assert [(one.result.value, one.reason) for one in outcomes] == [
        ("done", ""),
        ("skipped", "interrupted"),
    ]


def test_the_second_interrupt_ends_at_once():
    def twice(_step: Step) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(FakeManager(), start("a"), on_begin=twice)

    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_thousand_steps_cost_no_more_than_their_verbs():
    steps = [start(f"i{n}", *([f"i{n - 1}"] if n % 10 else [])) for n in range(1000)]
    manager = FakeManager()

    outcomes = run(manager, *steps, parallel=8)

    assert len(manager.calls) == len(outcomes) == 1000
