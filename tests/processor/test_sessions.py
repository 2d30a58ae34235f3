"""Sessions over HTTP: the guide's promises beside the service's own bodies."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Client, Server

Serving = Callable[..., Server]


def until(condition: Callable[[], bool], *, deadline_s: float = 10.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "condition not met in time"
        time.sleep(0.02)


def path_of(session_id: str) -> str:
    return f"/sessions/{session_id}"


def test_a_session_shows_the_keys_of_guide_and_service(client: Client) -> None:
    created = client.post(
        "/sessions", {"node_id": "chatbot_v2", "config": {"recall_threshold": 0.3}, "ttl": 7200}
    )
    shown = client.get(path_of(created["session_id"]))

    assert created["ttl"] == created["ttl_seconds"] == 7200
    assert created["config"] == created["session_config"]
    assert created["config"]["recall_threshold"] == 0.3
    assert created["created_at"].endswith("Z")
    assert shown["remaining_ttl"] in (7199, 7200)
    assert shown["auto_extend"] is True
    assert shown["ttl"] == 7200


def test_a_user_names_a_node(client: Client) -> None:
    created = client.post("/sessions", {"user_id": "alice", "config": {"max_predictions": 50}})

    assert created["node_id"] == "user_alice"
    assert created["user_id"] == "alice"


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_config_is_updated_by_every_documented_form(
    client: Client, method: str, wrapped: bool
) -> None:
    session = client.session("forms")
    change = {"recall_threshold": 0.5}

    status, _ = client.send(method, session + "/config", {"config": change} if wrapped else change)

    assert status == 200
    assert client.get(session + "/config")["config"]["recall_threshold"] == 0.5


def test_a_wrong_config_changes_nothing(client: Client) -> None:
    session = client.session("atomic")

    status, body = client.send(
        "POST", session + "/config", {"max_predictions": 5, "persistence": 0}
    )

    assert status == 400
    assert body["detail"]["validation_errors"] == {
        "persistence": "Must be an integer between 1 and 100"
    }
    assert client.get(session + "/config")["config"]["max_predictions"] == 100


def test_a_wrong_config_creates_no_session(client: Client) -> None:
    before = client.get("/sessions/count")

    status, body = client.send(
        "POST", "/sessions", {"node_id": "n", "config": {"recall_threshold": 7}}
    )

    assert status == 400
    assert list(body["detail"]["validation_errors"]) == ["recall_threshold"]
    assert client.get("/sessions/count") == before


def test_the_list_and_the_count_are_exact(client: Client) -> None:
    before = client.get("/sessions/count")["active_session_count"]
    created = {client.post("/sessions", {"node_id": "list"})["session_id"] for _ in range(3)}

    listed = {session["session_id"] for session in client.get("/sessions")["sessions"]}

    assert created <= listed
    assert client.get("/sessions/count")["active_session_count"] == before + 3
    client.send("DELETE", path_of(created.pop()))
    assert client.get("/sessions/count")["active_session_count"] == before + 2


def test_every_operation_restarts_the_clock_but_looking_does_not(client: Client) -> None:
    looked_at = client.session("clock", ttl_seconds=2)
    used = client.session("clock", ttl_seconds=2)

    def used_up() -> bool:
        client.get(used + "/stm")
        return not client.get(looked_at + "/exists")["exists"]

    until(used_up)

    assert client.send("GET", looked_at)[0] == 404
    assert client.send("GET", used)[0] == 200


def test_without_auto_extend_the_end_is_fixed(serving: Serving) -> None:
    server = serving(SESSION_AUTO_EXTEND="false")
    client = Client(server.port)
    session = client.session("fixed", ttl_seconds=1)

    until(lambda: client.send("POST", session + "/observe", {"strings": ["a"]})[0] == 404)

    client.close()


def test_an_extension_lasts(client: Client) -> None:
    session = client.session("extend", ttl_seconds=60)

    client.post(session + "/extend?ttl_seconds=500")
    client.post(session + "/observe", {"strings": ["a"]})

    assert client.get(session)["ttl_seconds"] in (499, 500)


def test_an_extension_by_nothing_ends_the_session(client: Client) -> None:
    session = client.session("end")

    assert client.post(session + "/extend?ttl_seconds=0")["status"] == "extended"

    assert client.send("GET", session + "/stm")[0] == 404


def test_patterns_outlive_their_session(client: Client) -> None:
    first = client.session("outlive")
    client.post(first + "/observe-sequence", sequence("a", "b", "c"))
    client.post(first + "/learn")
    client.send("DELETE", first)
    second = client.session("outlive")

    client.post(second + "/observe-sequence", sequence("a", "b"))

    assert client.get(second + "/predictions")["predictions"][0]["future"] == [["c"]]


def test_sessions_of_a_node_share_patterns_and_nothing_else(client: Client) -> None:
    one, other = client.session("shared"), client.session("shared", config={"max_predictions": 3})
    client.post(one + "/observe", {"strings": ["a"], "emotives": {"joy": 1.0}})

    assert client.get(other + "/stm")["stm"] == []
    assert client.get(other + "/percept-data")["percept_data"] == {}
    assert client.get(one + "/config")["config"]["max_predictions"] == 100


@pytest.mark.parametrize("other", ["a b", "a_b", "A-b", "a-b ", "a/b", "a%b", "ä", "", "." * 300])
def test_nodes_that_differ_share_nothing(client: Client, other: str) -> None:
    teacher = client.session("a-b")
    client.post(teacher + "/observe-sequence", sequence("x", "y", "z"))
    client.post(teacher + "/learn")
    session = client.session(other)

    client.post(session + "/observe-sequence", sequence("x", "y"))

    assert client.get(session + "/predictions")["count"] == 0


def test_the_session_less_api_needs_no_header_and_keeps_its_memory(serving: Serving) -> None:
    client = Client(serving().port)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = b'{"strings": ["hello"], "vectors": [], "emotives": {}}'

    observed = client.post("/observe", body, headers=form)
    client.post("/observe", b'{"strings": ["world"]}', headers=form)

    assert observed["stm_length"] == 1
    assert client.get("/stm")["stm"] == [["hello"], ["world"]]
    assert client.post("/learn", headers=form)["pattern_name"].startswith("PTRN|")
    client.post("/observe", b'{"strings": ["hello"]}', headers=form)
    assert client.get("/predictions")["predictions"][0]["future"] == [["world"]]
    assert client.get("/sessions/count")["active_session_count"] == 0
    assert client.post("/clear-stm")["status"] == "cleared"
    assert client.post("/clear-all-memory")["message"] == "all-cleared"
    assert client.get("/symbols/stats")["symbols"] == {}
    client.close()


def test_headers_tell_trace_session_and_instance(client: Client) -> None:
    session = client.session("headers")

    client.get(session + "/stm", headers={"X-Trace-ID": "mine"})
    assert client.headers["X-Trace-ID"] == "mine"
    assert client.headers["X-Session-ID"] == session.removeprefix("/sessions/")
    assert client.headers["X-Kato-Instance"] == "under-test"
    client.get(session)
    assert client.headers["X-Trace-ID"].startswith("kato-")
    assert client.headers["X-Session-ID"] is None


def test_any_origin_may_ask(client: Client) -> None:
    asking = {"Origin": "http://page.example", "Access-Control-Request-Method": "POST"}

    status, _ = client.send("OPTIONS", "/sessions", headers=asking)

    assert status == 200
    assert client.headers["Access-Control-Allow-Origin"] == "http://page.example"
    assert client.headers["Access-Control-Allow-Credentials"] == "true"
    assert client.headers["Access-Control-Max-Age"] == "600"


def test_a_trailing_slash_redirects(client: Client) -> None:
    session = client.session("slash")

    status, _ = client.send("GET", session + "/")

    assert status == 307
    assert client.headers["Location"].endswith(session)


def test_the_document_lists_every_route_of_kato(client: Client) -> None:
    document = client.get("/openapi.json")
    status, page = client.send("GET", "/docs")

    assert document["openapi"].startswith("3.")
    assert "/sessions/{session_id}/observe-sequence" in document["paths"]
    assert "/pattern/{pattern_id}" in document["paths"]
    assert status == 200
    assert "openapi.json" in page


def sequence(*symbols: str) -> dict[str, Any]:
    return {"observations": [{"strings": [symbol]} for symbol in symbols]}
