"""What every store promises; each test runs on memory, SQLite, files and a real Redis."""

from dataclasses import replace

import pytest

from kato_sessions.errors import (
    InvalidSession,
    SessionExists,
    SessionLimit,
    SessionNotFound,
    VersionConflict,
)
from kato_sessions.model import Affinity, Counters, Item, Session, State
from kato_sessions.profile import CHAT, KATO, PULSEPAL, SERVICE, Profile

HOUR = 3_600_000
SLACK = 36_000


def said(store, session_id, **window):
    return [item.content for item in store.items(session_id, **window)]


def test_a_new_session_is_exactly_what_was_asked_for(store, clock):
    made = store.create(
        "s1", node_id="n", user_id="u", config={"a": 1}, metadata={"m": [1]}, context={"c": None}
    )

    expected = Session(
        id="s1",
        user_id="u",
        node_id="n",
        created_at=clock.now,
        last_access=clock.now,
        last_write=clock.now,
        idle_ttl_ms=HOUR,
        max_life_ms=None,
        expires_at=clock.now + HOUR + SLACK,
        config_overrides={"a": 1},
        metadata={"m": [1]},
        context={"c": None},
    )
    assert made == expected
    assert store.get("s1") == expected
    assert store.workspace("s1") == (expected, "")
    assert store.items("s1") == []


def test_made_up_ids_have_the_form_of_the_profile(make):
    assert make(KATO).create().id.startswith("session-")
    assert len(make(CHAT).create().id) == 36


@pytest.mark.parametrize("bad", ["", "a/b", "a b", "stats", "count", "x" * 129, "é", "a\n"])
def test_an_id_outside_the_rules_is_refused(store, bad):
    with pytest.raises(InvalidSession):
        store.create(bad)


@pytest.mark.parametrize("owner", ["", "a\x00b", "\ud800", "x" * 257])
def test_an_owner_outside_the_rules_is_refused(store, owner):
    with pytest.raises(InvalidSession):
        store.create(user_id=owner)


def test_ids_that_differ_only_in_case_or_dots_are_different_sessions(store):
    for session_id in ("a", "A", "..", "a.b", "a:b", "b32-me", "-", "Z" * 128):
        store.create(session_id, metadata={"is": session_id})

    assert store.count() == 8
    assert store.get("A").metadata == {"is": "A"}
    assert store.get("Z" * 128).metadata == {"is": "Z" * 128}


def test_what_is_not_json_is_refused(store):
    with pytest.raises(InvalidSession):
        store.create(config={"x": float("nan")})
    with pytest.raises(InvalidSession):
        store.create(config={"x": {1, 2}})
    assert store.count() == 0


def test_a_live_id_cannot_be_made_twice(store):
    store.create("s")
    with pytest.raises(SessionExists):
        store.create("s")


def test_values_given_out_are_not_the_stored_ones(store):
    config = {"list": [1]}
    store.create("s", config=config)
    config["list"].append(2)
    store.get("s").config_overrides["list"].append(3)

    assert store.get("s").config_overrides == {"list": [1]}


def test_an_unknown_session_says_so(store):
    with pytest.raises(SessionNotFound) as caught:
        store.get("nobody")
    assert caught.value.code == "session_unknown"
    assert str(caught.value) == "session 'nobody' not found: no session has this id"
    assert store.peek("nobody") is None
    assert not store.exists("nobody")


# Two clocks


def test_a_session_ends_at_its_deadline_and_says_that_it_expired(store, clock):
    store.create("s")
    clock.advance(HOUR + SLACK - 1)
    assert store.exists("s")
    clock.advance(1)

    assert not store.exists("s")
    assert store.count() == 0
    with pytest.raises(SessionNotFound) as caught:
        store.get("s")
    assert caught.value.code == "session_expired"
    assert store.peek("s").state is State.EXPIRED


def test_looking_does_not_extend_but_an_operation_does(store, clock):
    store.create("s")
    clock.advance(HOUR // 2)
    assert store.get("s").remaining_ms(clock.now) == HOUR // 2
    assert store.get("s", touch=True).remaining_ms(clock.now) == HOUR
    assert store.get("s").expires_at == clock.now + HOUR + SLACK


def test_a_touch_within_the_slack_is_not_written(store, clock):
    made = store.create("s")
    clock.advance(SLACK - 1)
    assert store.touch("s") == made
    clock.advance(1)
    assert store.touch("s").last_access == clock.now


def test_the_absolute_clock_is_never_extended(make, clock):
    store = make(Profile(name="p", idle_ttl_ms=2 * HOUR, max_life_ms=3 * HOUR))
    made = store.create("s")
    clock.advance(2 * HOUR)
    assert store.touch("s").expires_at == made.created_at + 3 * HOUR
    clock.advance(HOUR)
    assert not store.exists("s")


def test_without_extension_a_ttl_is_absolute(make, clock):
    store = make(replace(KATO, idle_ttl_ms=None, max_life_ms=HOUR))
    made = store.create("s", ttl_ms=7200_000)
    store.append("s", [Item(content="x")])
    assert store.get("s", touch=True).expires_at == made.created_at + 7200_000


def test_reads_refresh_as_the_profile_says(make, clock):
    for touch_on, refreshed in (("write", False), ("op", True), ("any", True)):
        store = make(replace(KATO, touch_on=touch_on))
        made = store.create(touch_on)
        clock.advance(HOUR // 2)
        assert (store.get(touch_on, touch=True) != made) is refreshed


def test_a_session_without_clocks_never_ends(store, clock):
    store.create("s", ttl_ms=None)
    clock.advance(10**12)
    assert store.get("s").remaining_ms(clock.now) is None


def test_the_default_session_is_one_and_never_ends(store, clock):
    first = store.default()
    clock.advance(10**12)
    assert store.default() == first
    store.delete("default")
    assert store.create("default").expires_at is None
    assert first.expires_at is None


def test_extending_gives_the_new_time_from_now(store, clock):
    store.create("s")
    clock.advance(HOUR // 2)
    assert store.extend("s", 2 * HOUR).remaining_ms(clock.now) == 2 * HOUR
    assert store.extend("s", None).expires_at is None


@pytest.mark.parametrize("ttl", [0, -5, 1.5, "1", True])
def test_a_ttl_must_be_a_positive_number(store, ttl):
    with pytest.raises(InvalidSession):
        store.create(ttl_ms=ttl)


# History


def test_items_get_dense_numbers_and_come_back_in_order(store, clock):
    store.create("s")
    first = store.append("s", [Item(role="user", kind="query", content="q", data={"d": 1})])
    store.append("s", [Item(content="a"), Item(kind="error", content={"b": 2})])

    assert first[0] == Item(
        session_id="s",
        seq=1,
        id=first[0].id,
        ts=clock.now,
        role="user",
        kind="query",
        content="q",
        data={"d": 1},
    )
    assert [item.seq for item in store.items("s")] == [1, 2, 3]
    assert store.items("s")[0] == first[0]
    assert store.get("s").counters == Counters(items=3, queries=1, errors=1)
    assert store.get("s").version == 1


def test_a_window_of_the_history_can_be_had_from_both_ends(store):
    store.create("s")
    store.append("s", [Item(content=number) for number in range(1, 11)])

    assert said(store, "s", limit=3) == [8, 9, 10]
    assert said(store, "s", after=3, limit=2) == [4, 5]
    assert said(store, "s", before=4) == [1, 2, 3]
    assert said(store, "s", before=4, limit=2) == [2, 3]
    assert said(store, "s", after=2, before=5) == [3, 4]
    assert said(store, "s", after=10) == []
    assert said(store, "s", after=8, limit=5) == [9, 10]


def test_an_append_with_a_key_happens_once(store):
    store.create("s")
    first = store.append("s", [Item(content="a"), Item(content="b")], idempotency_key='k"1')
    again = store.append("s", [Item(content="a"), Item(content="b")], idempotency_key='k"1')
    store.append("s", [Item(content="c", idempotency_key="k2")])
    store.append("s", [Item(content="c", idempotency_key="k2")])

    assert again == first
    assert said(store, "s") == ["a", "b", "c"]


def test_an_append_can_patch_the_session_in_the_same_write(store):
    store.create("s", context={"old": 1})
    store.append("s", [Item(content="q")], patch={"context": {"last": "q", "old": None}})
    assert store.get("s").context == {"last": "q"}


def test_a_limited_history_keeps_the_newest_and_numbers_go_on(make):
    store = make(replace(KATO, max_items=3))
    store.create("s")
    for number in range(1, 6):
        store.append("s", [Item(content=number)], idempotency_key=f"k{number}")

    assert [(item.seq, item.content) for item in store.items("s")] == [(3, 3), (4, 4), (5, 5)]
    assert said(store, "s", before=5, limit=1) == [4]
    assert store.get("s").counters.items == 5


def test_any_text_survives(store):
    content = "\x00\u2028 \U0001f600 \ud800 ' \" \\ \n" + "x" * 100_000
    store.create("s", metadata={content[:20]: content})
    store.append("s", [Item(content=content)])
    store.put_workspace("s", "\u2028\r\n\x01")

    assert said(store, "s") == [content]
    assert store.get("s").metadata == {content[:20]: content}
    assert store.workspace("s")[1] == "\u2028\r\n\x01"


def test_redaction_sees_every_item_before_it_is_written(make):
    store = make(redact=lambda item: replace(item, content="[removed]", redacted=True))
    store.create("s")
    store.append("s", [Item(content="secret")])
    assert [(item.content, item.redacted) for item in store.items("s")] == [("[removed]", True)]


# Changes


def test_a_patch_merges_inside_the_store(store):
    store.create("s", config={"a": {"x": 1, "y": 2}, "b": 1})
    changed = store.patch("s", {"config": {"a": {"y": None, "z": 3}}, "metadata": {"m": 1}})

    assert changed.config_overrides == {"a": {"x": 1, "z": 3}, "b": 1}
    assert (changed.version, changed.config_rev, changed.metadata) == (2, 1, {"m": 1})
    assert store.get("s") == changed


def test_a_patch_can_replace(store):
    store.create("s", config={"a": 1}, context={"c": 1})
    changed = store.patch("s", {"config": {"b": None}}, replace_values=True)
    assert (changed.config_overrides, changed.context) == ({"b": None}, {"c": 1})


def test_only_config_metadata_and_context_can_be_patched(store):
    store.create("s")
    with pytest.raises(InvalidSession):
        store.patch("s", {"id": {"x": 1}})
    with pytest.raises(InvalidSession):
        store.patch("s", {"config": None})


def test_a_stale_version_conflicts_and_says_both(store):
    store.create("s")
    store.patch("s", {"context": {"a": 1}}, expected_version=1)
    with pytest.raises(VersionConflict) as caught:
        store.patch("s", {"context": {"a": 2}}, expected_version=1)
    assert (caught.value.expected, caught.value.actual) == (1, 2)
    assert store.get("s").context == {"a": 1}


def test_the_workspace_has_a_revision_of_its_own(store):
    store.create("s")
    session, text = store.workspace("s")
    assert text == ""
    assert store.put_workspace("s", "[1]", expected_rev=session.workspace_rev).version == 1
    with pytest.raises(VersionConflict):
        store.put_workspace("s", "[2]", expected_rev=session.workspace_rev)
    assert store.workspace("s")[1] == "[1]"


def test_affinity_is_set_once(store):
    store.create("s")
    first = Affinity(instance_id="a", bucket=7, how="hash")
    assert store.set_affinity_if_absent("s", first) == first
    assert store.set_affinity_if_absent("s", Affinity(instance_id="b")) == first
    assert store.get("s").affinity == first


# Ends


def test_a_deleted_session_is_gone_at_once_and_cannot_come_back(store):
    store.create("s", user_id="u", metadata={"secret": 1})
    store.append("s", [Item(content="x")])
    store.put_workspace("s", "w")
    store.delete("s")

    for late in (
        lambda: store.append("s", [Item(content="y")]),
        lambda: store.patch("s", {"context": {"a": 1}}),
        lambda: store.put_workspace("s", "w"),
        lambda: store.touch("s"),
        lambda: store.delete("s"),
        lambda: store.record("s"),
    ):
        with pytest.raises(SessionNotFound) as caught:
            late()
        assert caught.value.code == "session_deleted"
    assert store.items("s") == []
    assert store.peek("s").metadata == {}
    assert store.count() == 0
    assert store.list().sessions == ()


def test_the_id_of_an_ended_session_starts_afresh_with_a_higher_version(store):
    store.create("s")
    store.append("s", [Item(content="x")], idempotency_key="k")
    store.put_workspace("s", "w")
    store.delete("s")
    again = store.create("s", user_id="other")

    assert again.version > 1
    assert (store.items("s"), store.workspace("s")[1]) == ([], "")
    assert said(store, "s") == []
    store.append("s", [Item(content="y")], idempotency_key="k")
    assert said(store, "s") == ["y"]
    assert [one.id for one in store.list(user_id="other").sessions] == ["s"]


def test_an_expired_one_keeps_its_history_until_it_is_purged(store):
    store.create("s")
    store.append("s", [Item(content="x")])
    assert store.expire("s").state is State.EXPIRED
    assert said(store, "s") == ["x"]
    with pytest.raises(SessionNotFound):
        store.get("s")


# Lists and limits


def test_lists_are_newest_first_in_pages_that_neither_miss_nor_repeat(store, clock):
    for number in range(25):
        clock.advance(number % 2)
        store.create(f"s{number:02}", user_id=f"u{number % 3}")

    seen, cursor = [], None
    while True:
        page = store.list(cursor=cursor, limit=4)
        seen += [session.id for session in page.sessions]
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(seen) == sorted({f"s{number:02}" for number in range(25)})
    positions = [(store.get(one).created_at, one) for one in seen]
    assert positions == sorted(positions, reverse=True)


def test_a_cursor_holds_when_its_session_is_gone(store, clock):
    for number in range(6):
        clock.advance(1)
        store.create(f"s{number}")
    page = store.list(limit=2)
    store.delete("s4")

    assert [one.id for one in store.list(cursor=page.cursor).sessions] == ["s3", "s2", "s1", "s0"]


@pytest.mark.parametrize("cursor", ["x", "!!", "W10=", "bnVsbA=="])
def test_a_made_up_cursor_is_refused(store, cursor):
    with pytest.raises(InvalidSession):
        store.list(cursor=cursor)


def test_lists_and_counts_by_owner_are_exact(store, clock):
    store.create("a", user_id="u", node_id="n")
    store.create("b", user_id="u", node_id="m", ttl_ms=1000)
    store.create("c", user_id="v' OR 1=1", node_id="n")

    assert {one.id for one in store.list(user_id="u").sessions} == {"a", "b"}
    assert (store.count(), store.count(user_id="u"), store.count(node_id="n")) == (3, 2, 2)
    assert store.count(user_id="u", node_id="n") == 1
    clock.advance(1000)
    assert (store.count(), store.count(user_id="u"), store.count(live=False)) == (2, 1, 3)
    assert {one.id for one in store.list(user_id="u").sessions} == {"a"}
    assert {one.id for one in store.list(user_id="v' OR 1=1").sessions} == {"c"}


def test_over_the_limit_the_one_idle_longest_goes(make, clock):
    store = make(replace(SERVICE, max_sessions_per_user=2))
    for session_id in ("a", "b"):
        store.create(session_id, user_id="u")
        clock.advance(HOUR)
    store.append("a", [Item(content="x")])
    store.create("c", user_id="u")
    store.create("other", user_id="v")

    assert {one.id for one in store.list(user_id="u").sessions} == {"a", "c"}
    assert store.exists("other")


def test_over_the_limit_a_strict_profile_refuses(make):
    store = make(replace(KATO, max_sessions=2, on_limit="reject"))
    store.create("a")
    store.create("b")
    with pytest.raises(SessionLimit) as caught:
        store.create("c")
    assert str(caught.value) == "there are 2 live sessions, the limit"
    store.delete("a")
    store.create("c")
    store.default()


def test_a_lease_has_one_holder_until_it_runs_out(store, clock):
    assert store.lease("janitor", "a", 1000)
    assert not store.lease("janitor", "b", 1000)
    assert store.lease("janitor", "a", 1000)
    clock.advance(1000)
    assert store.lease("janitor", "b", 1000)
    assert not store.lease("janitor", "a", 1000)


# Whole records


def test_a_record_moves_whole(store, clock):
    store.create("s", user_id="u", config={"a": 1})
    store.append("s", [Item(content="x")], idempotency_key="k")
    store.put_workspace("s", "w")
    store.set_affinity_if_absent("s", Affinity(instance_id="a"))
    record = store.record("s")

    with pytest.raises(SessionExists):
        store.put_record(record)
    store.delete("s")
    store.put_record(record, overwrite=True)

    assert store.record("s") == record
    assert [one.id for one in store.list(user_id="u").sessions] == ["s"]
    store.append("s", [Item(content="x")], idempotency_key="k")
    assert said(store, "s") == ["x"]


def test_pulsepal_sessions_live_by_two_clocks(make, clock):
    session = make(PULSEPAL).create()
    assert (session.idle_ttl_ms, session.max_life_ms) == (2 * HOUR, 24 * HOUR)
