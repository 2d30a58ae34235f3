"""Whatever is done at whatever moment: never early, and late by no more than the slack."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from kato_sessions.connect import open_store
from kato_sessions.errors import SessionNotFound
from kato_sessions.model import Item, slack_of
from kato_sessions.profile import KATO
from sessions.driven_clock import DrivenClock

ACTIONS = {
    "look": lambda store: store.get("s"),
    "use": lambda store: store.get("s", touch=True),
    "append": lambda store: store.append("s", [Item(content="x")]),
    "patch": lambda store: store.patch("s", {"context": {"a": 1}}),
    "work": lambda store: store.put_workspace("s", "w"),
    "touch": lambda store: store.touch("s"),
}
STEP = st.tuples(st.integers(0, 5_000_000), st.sampled_from(sorted(ACTIONS)))


@settings(max_examples=150, deadline=None)
@given(
    idle=st.integers(1, 10_000_000) | st.none(),
    most=st.integers(1, 20_000_000) | st.none(),
    exact=st.booleans(),
    steps=st.lists(STEP, max_size=20),
)
def test_a_session_ends_after_its_deadline_and_within_the_slack(idle, most, exact, steps):
    clock = DrivenClock()
    profile = replace(KATO, idle_ttl_ms=idle, max_life_ms=most, exact_touch=exact)
    store = open_store("memory:", profile=profile, clock=clock)
    store.create("s")
    born = used = clock.now
    slack = slack_of(idle, exact=exact)

    for pause, action in steps:
        clock.advance(pause)
        idle_end = float("inf") if idle is None else used + idle
        life_end = float("inf") if most is None else born + most
        earliest = min(idle_end, life_end)
        latest = min(idle_end + slack, life_end)
        try:
            ACTIONS[action](store)
        except SessionNotFound:
            assert clock.now >= earliest
            return
        assert clock.now < latest
        if action != "look":
            used = clock.now
