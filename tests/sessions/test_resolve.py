"""A named session, a new one, or a refusal: as each guide promises."""

import pytest

from kato_sessions.errors import SessionNotFound
from kato_sessions.profile import KATO, PULSEPAL, SERVICE
from kato_sessions.resolve import resolve_session


def test_a_live_session_is_the_one_meant(make):
    store = make(SERVICE)
    made = store.create("s", user_id="u")
    assert resolve_session(store, "s", user_id="u") == made
    assert resolve_session(store, "s") == made


def test_an_unknown_id_is_handled_as_the_profile_says(make):
    assert resolve_session(make(SERVICE), "thread", metadata={"m": 1}).id == "thread"
    assert resolve_session(make(PULSEPAL), "gone").id != "gone"
    with pytest.raises(SessionNotFound):
        resolve_session(make(KATO), "gone")
    assert resolve_session(make(KATO), "gone", on_missing="create_same_id").id == "gone"


def test_without_an_id_a_session_is_always_made(make):
    store = make(KATO)
    assert resolve_session(store, None).id != resolve_session(store, None).id


def test_nobody_gets_the_session_or_the_id_of_another(make):
    store = make(SERVICE)
    store.create("thread", user_id="alice")

    bobs = resolve_session(store, "thread", user_id="bob")

    assert (bobs.id != "thread", bobs.user_id) == (True, "bob")
    assert store.get("thread").user_id == "alice"
    with pytest.raises(SessionNotFound):
        resolve_session(store, "thread", user_id="bob", on_missing="error")


def test_an_expired_thread_starts_again_under_its_id(make, clock):
    store = make(SERVICE)
    store.create("thread", user_id="alice", metadata={"m": 1})
    clock.advance(25 * 3_600_000)
    assert resolve_session(store, "thread", user_id="alice").metadata == {}
