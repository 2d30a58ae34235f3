"""What can be done at a path, asked by HEAD and OPTIONS and said by a refusal."""

import pytest

from gateway.control.conftest import THROUGH_FRONT

READ = ["/api/instances", "/api/templates", "/api/openapi.json", "/status", "/metrics", "/sessions"]


@pytest.mark.parametrize("path", READ)
def test_head_is_answered_as_get_is(api, path: str):
    got, head = api.get(path), api.head(path)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


def test_the_head_of_what_never_ends_ends(api):
    answers = [api.head("/api/events") for _ in range(2)]

    assert [one.headers["content-type"] for one in answers] == [
        "text/event-stream; charset=utf-8"
    ] * 2


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/api/instances", "GET, POST, HEAD, OPTIONS"),
        ("/api/instances/a", "DELETE, GET, HEAD, OPTIONS"),
        ("/api/instances/a/stop", "POST, OPTIONS"),
        ("/metrics", "GET, HEAD, OPTIONS"),
        ("/sessions/s/stm", "DELETE, GET, PATCH, POST, PUT, HEAD, OPTIONS"),
    ],
)
def test_a_refused_method_tells_the_others(api, path: str, allow: str):
    asked = api.options(path, headers=THROUGH_FRONT)
    refused = api.request("PROPFIND", path)

    assert (asked.status_code, asked.headers["allow"]) == (204, allow)
    assert (refused.status_code, refused.headers["allow"]) == (405, allow)
    assert refused.json()["code"] == "method_not_allowed"
