from collections import Counter

import pytest

from kato_manager.gateway import balance, breaker, requests
from kato_manager.gateway.breaker import Breaker
from kato_manager.gateway.routes import Group, Route
from kato_manager.model import Status


def route(name: str, status: Status = Status.RUNNING) -> Route:
    return Route(id=name, port=8001, prefix=f"/{name}".encode(), status=status)


def group(*names: str, policy: str = "") -> Group:
    return Group(id="g", prefix=b"/g", members=tuple(map(route, names)), policy=policy)


def request(target: str = "/g/x", **headers: str) -> requests.Request:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return requests.parse(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode())


def test_the_member_with_the_least_in_flight_comes_first() -> None:
    pending = {"a": 3, "b": 1, "c": 2}

    order = balance.order(
        group("a", "b", "c"), request(), pending=lambda one: pending[one.id], turn=0
    )

    assert [one.id for one in order] == ["b", "c", "a"]


def test_members_with_equal_load_take_turns() -> None:
    firsts = [
        balance.order(group("a", "b", "c"), request(), pending=lambda _: 0, turn=turn)[0].id
        for turn in range(6)
    ]

    assert firsts == ["a", "b", "c", "a", "b", "c"]


def test_only_members_that_run_take_requests() -> None:
    members = (route("a", Status.STOPPING), route("b"), route("c", Status.FAILED))
    mixed = Group(id="g", prefix=b"/g", members=members)

    order = balance.order(mixed, request(), pending=lambda _: 0, turn=5)

    assert order == [members[1]]


@pytest.mark.parametrize(
    ("policy", "asked", "key"),
    [
        ("header:X-User", request(X_User="u1"), b"u1"),
        ("header:X-User", request(), b""),
        ("cookie:sid", request(Cookie="a=b; sid=s1"), b"s1"),
        ("cookie:sid", request(Cookie="a=b"), b""),
        ("session", request(X_Session_Id="s2"), b"s2"),
        ("session", request("/g/sessions/s3/observe?x"), b"s3"),
        ("session", request(), b""),
        ("", request(X_User="u1"), b""),
    ],
)
def test_what_binds_a_request(policy: str, asked: requests.Request, key: bytes) -> None:
    assert balance.affinity(policy, asked) == key


def test_equal_keys_meet_the_same_member_whatever_its_load() -> None:
    bound = group("a", "b", "c", policy="header:x-user")

    firsts = {
        balance.order(bound, request(X_User="u7"), pending=lambda _, turn=turn: turn, turn=turn)[
            0
        ].id
        for turn in range(10)
    }

    assert len(firsts) == 1


def test_a_member_that_leaves_moves_only_its_own_keys() -> None:
    keys = [b"user-%d" % number for number in range(3000)]
    before = {key: balance.rendezvous(key, group(*"abcde").members)[0].id for key in keys}

    after = {key: balance.rendezvous(key, group(*"abde").members)[0].id for key in keys}

    assert {before[key] for key in keys if before[key] != after[key]} == {"c"}
    shares = Counter(before.values())
    assert all(0.16 < shares[name] / len(keys) < 0.24 for name in "abcde")


def test_a_breaker_opens_after_failures_in_a_row_and_tries_one_later() -> None:
    one = Breaker()
    for _ in range(breaker.FAILURES_TO_OPEN - 1):
        one.failed(10.0)
    assert one.allows(10.0)

    one.failed(10.0)

    assert not one.allows(10.0)
    assert one.allows(10.0 + breaker.FIRST_PAUSE_S)
    assert not one.allows(10.0 + breaker.FIRST_PAUSE_S), "one trial at a time"
    one.succeeded()
    assert one.allows(10.0 + breaker.FIRST_PAUSE_S)


def test_a_breaker_waits_longer_after_each_failed_trial_up_to_a_limit() -> None:
    one = Breaker()
    for _ in range(100):
        one.failed(0.0)

    assert one.open_until == breaker.LONGEST_PAUSE_S
