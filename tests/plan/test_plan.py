"""Plans: exact text, one cause per step, and a token of what they were made from."""

import dataclasses
import json
from datetime import UTC, datetime

import pytest

from kato_manager import plan as planning
from kato_manager.errors import ConfigError
from kato_manager.model import Instance, InstanceSpec, Launch
from kato_manager.plan import Action

FILE = "multi.yaml"
ORIGIN = "/home/user/multi.yaml"
NOW = datetime(2024, 1, 1, tzinfo=UTC)


def spec(instance_id: str, *, threshold: float = 0.1, **given) -> InstanceSpec:
    settings = {"recall_threshold": threshold}
    environment = {"RECALL_THRESHOLD": str(threshold)}
    launch = given.pop("launch", Launch(image="kato:1", environment=environment))
    return InstanceSpec(id=instance_id, settings=settings, launch=launch, **given)


def recorded(*specs: InstanceSpec, origin: str = ORIGIN) -> dict[str, Instance]:
    return {
        one.id: Instance(spec=one, port=8001, origin=origin, created_at=NOW, updated_at=NOW)
        for one in specs
    }


def diff(wanted, instances, words=None, **given) -> planning.Plan:
    running = dict.fromkeys(instances, "running")
    words = {**running, **(words or {})}
    return planning.diff(wanted, instances, words, file=FILE, origin=ORIGIN, **given)


def test_the_plan_prints_as_documented():
    wanted = [spec("fast"), spec("pattern", threshold=0.3), spec("sentiment")]
    instances = recorded(spec("pattern"), spec("sentiment"), spec("old-one"))

    plan = diff(wanted, instances, prune=True)

    assert str(plan) == (
        "start    fast           not recorded\n"
        "replace  pattern        recall_threshold 0.1 -> 0.3\n"
        "keep     sentiment      unchanged\n"
        "stop     old-one        not in multi.yaml (--prune)"
    )


def test_without_prune_what_is_no_longer_named_is_left_and_told():
    plan = diff([], recorded(spec("old-one")))

    assert (plan.steps, plan.leftover) == ((), ("old-one",))


def test_prune_takes_only_what_this_file_made_and_no_longer_names():
    instances = recorded(spec("mine"), spec("inactive"))
    instances |= recorded(spec("by-hand"), origin="") | recorded(spec("theirs"), origin="/other")

    plan = diff([], instances, named={"inactive"}, prune=True)

    assert [step.id for step in plan.changes] == ["mine"]


@pytest.mark.parametrize("word", ["exited", "missing", "stopped", "failed", "stopping"])
def test_what_is_down_is_started(word):
    plan = diff([spec("a")], recorded(spec("a")), {"a": word})

    assert str(plan) == f"start    a              {word}"


def test_what_an_engine_says_nothing_about_is_left_alone():
    plan = diff([spec("a")], recorded(spec("a")), {"a": "unreachable"})

    assert str(plan) == "keep     a              unchanged, its engine is silent"


def test_a_moved_instance_is_kept():
    moved = recorded(spec("a", port=9000))  # it runs on 8001, since 9000 was busy

    assert str(diff([spec("a", port=9000)], moved)) == "keep     a              unchanged"
    assert str(diff([spec("a")], moved)) == "keep     a              unchanged"


def test_what_needs_no_restart_is_an_update():
    plan = diff([spec("a", group="g", name="New")], recorded(spec("a", name="Old")))

    assert str(plan) == 'update   a              name Old -> New, group "" -> g'


def test_every_difference_is_a_cause_and_the_environment_only_repeats_them():
    plan = diff([spec("a", threshold=0.2, port=9001)], recorded(spec("a", port=9000)))

    assert [step.cause for step in plan.steps] == ["port 9000 -> 9001, recall_threshold 0.1 -> 0.2"]


def test_a_changed_template_is_a_cause():
    other = Launch(image="kato:1", environment={"RECALL_THRESHOLD": "0.1", "NEW": "1"})

    plan = diff([spec("a", launch=other)], recorded(spec("a")))

    assert [(one.action, one.cause) for one in plan.steps] == [
        (Action.REPLACE, "template kato has changed")
    ]


def test_what_starts_on_demand_and_rests_is_left_alone():
    resting = spec("a", start="on-demand")

    plan = diff([resting], recorded(resting), {"a": "stopped"})
    changed = diff(
        [spec("a", start="on-demand", threshold=0.2)], recorded(resting), {"a": "stopped"}
    )

    assert [one.action for one in plan.steps] == [Action.KEEP]
    assert [one.action for one in changed.steps] == [Action.UPDATE]


def test_what_is_needed_comes_first():
    wanted = [
        spec("web", depends_on=("db", "cache")),
        spec("db"),
        spec("cache", depends_on=("db",)),
    ]

    plan = diff(wanted, {})

    assert [step.id for step in plan.steps] == ["db", "cache", "web"]


def test_down_stops_dependants_first_and_only_what_belongs_to_the_file():
    instances = recorded(spec("db"), spec("web", depends_on=("db",)), spec("gone"))
    instances |= recorded(spec("other"), origin="")

    plan = planning.down({"db", "web"}, instances, {}, file=FILE, origin=ORIGIN)

    assert str(plan) == (
        "stop     web            in multi.yaml\n"
        "stop     gone           in multi.yaml\n"
        "stop     db             in multi.yaml"
    )


def test_a_saved_plan_is_the_same_plan():
    wanted = [spec("a", threshold=0.2), spec("b", depends_on=("a",))]
    plan = diff(wanted, recorded(spec("a"), spec("old")), prune=True)

    data = json.loads(json.dumps(planning.to_document(plan)))

    assert planning.from_document(data, "p.json") == plan


def test_the_json_of_a_plan_says_what_changes():
    plan = diff([spec("a", threshold=0.2)], recorded(spec("a")))

    step = planning.to_document(plan)["steps"][0]

    assert {key: step[key] for key in ("action", "id", "cause")} == {
        "action": "replace",
        "id": "a",
        "cause": "recall_threshold 0.1 -> 0.2",
    }
    assert {"name": "recall_threshold", "old": 0.1, "new": 0.2, "needs_restart": True} in (
        step["changes"]
    )


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"version": 2},
        {"version": 1, "steps": [{}]},
        {"version": 1, "steps": 3, "world": "", "origin": "", "leftover": []},
    ],
)
def test_what_is_no_plan_is_refused(data):
    with pytest.raises(ConfigError, match=r"^p\.json: "):
        planning.from_document(data, "p.json")


def test_a_saved_plan_that_goes_in_a_circle_is_refused():
    plan = diff([spec("a"), spec("b", depends_on=("a",))], {})
    data = planning.to_document(plan)
    data["steps"][0]["needs"] = ["b"]

    with pytest.raises(ConfigError, match="is no plan"):
        planning.from_document(data, "p.json")


def test_the_token_follows_what_the_plan_is_about_and_nothing_else():
    instances = recorded(spec("a"))
    token = diff([spec("a")], instances).world

    unrelated = diff([spec("a")], {**instances, **recorded(spec("z"), origin="")}).world
    later = {"a": dataclasses.replace(instances["a"], updated_at=datetime.now(UTC))}

    assert unrelated == token
    assert diff([spec("a")], later).world == token
    assert diff([spec("a")], instances, {"a": "exited"}).world != token
    assert diff([spec("a")], recorded(spec("a", threshold=0.2))).world != token
    assert diff([spec("a")], {}).world != token
