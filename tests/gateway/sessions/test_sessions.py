"""Sessions behind the gateway's port: made, used, changed, ended."""

from homes import wait_until


def test_a_session_is_the_same_at_the_gateway_and_at_its_instance(gate) -> None:
    session_id = gate.create(node_id="shop")
    gate.json("POST", f"/sessions/{session_id}/observe", {"strings": ["bread"]})

    instance = gate.instance(session_id)
    direct = gate.json("GET", f"/{instance}/sessions/{session_id}/stm")
    assert direct == gate.json("GET", f"/sessions/{session_id}/stm")
    assert direct["stm"] == [["bread"]]


def test_nothing_named_is_a_session_that_finds_its_instance_when_used(gate) -> None:
    made = gate.json("POST", "/sessions", {})
    observed = gate.json("POST", f"/sessions/{made['session_id']}/observe", {"strings": ["x"]})

    assert (made["node_id"], made["instance"]) == (None, None)
    assert observed["session_id"] == made["session_id"]
    shown = gate.json("GET", f"/sessions/{made['session_id']}")
    assert shown["instance"] in {"a", "b"}
    assert (shown["ttl"], shown["session_id"]) == (86_400, made["session_id"])


def test_a_name_of_ones_own_is_kept(gate) -> None:
    made = gate.json("POST", "/sessions", {"session_id": "mine", "node_id": "named"})
    again = gate.ask("POST", "/sessions", {"thread_id": "mine"})
    observed = gate.ask("POST", "/sessions/mine/observe", {"strings": ["x"]})

    assert made["session_id"] == "mine"
    assert (again.status_code, again.json()["code"]) == (409, "session_exists")
    assert observed.json()["session_id"] == observed.headers["x-session-id"] == "mine"


def test_every_operation_is_in_the_history_and_reading_is_not(gate) -> None:
    session_id = gate.create(node_id="diary")
    path = f"/sessions/{session_id}"
    gate.json("POST", f"{path}/observe", {"strings": ["a"]})
    gate.json("POST", f"{path}/observe", {"strings": ["b"]})
    gate.json("POST", f"{path}/learn")
    gate.json("GET", f"{path}/predictions")
    gate.json("GET", f"{path}/stm")
    refused = gate.ask("POST", f"{path}/observe", {"strings": 5})

    items = gate.history(session_id)
    assert refused.status_code == 422
    assert [(one["kind"], one["status"]) for one in items] == [
        ("observe", 200),
        ("observe", 200),
        ("learn", 200),
        ("predictions", 200),
        ("error", 422),
    ]
    assert [one["content"] for one in items[:2]] == [{"strings": ["a"]}, {"strings": ["b"]}]
    assert {one["instance_id"] for one in items} == {gate.instance(session_id)}
    assert all(one["latency_ms"] > 0 for one in items)


def test_configuration_is_taken_wrapped_and_flat_by_three_methods(gate) -> None:
    session_id = gate.create(node_id="tuned")
    path = f"/sessions/{session_id}/config"

    answers = [
        gate.json("PUT", path, {"config": {"recall_threshold": 0.4}}),
        gate.json("PATCH", path, {"max_predictions": 7}),
        gate.json("POST", path, {"config": {"persistence": 9}}),
    ]

    wanted = {"recall_threshold": 0.4, "max_predictions": 7, "persistence": 9}
    assert [one["config_rev"] for one in answers] == [1, 2, 3]
    assert answers[-1]["config"] | wanted == answers[-1]["config"]
    assert gate.json("GET", path)["config"] == answers[-1]["config"]


def test_a_wrong_setting_is_named_and_nothing_changes(gate) -> None:
    session_id = gate.create(node_id="tuned")
    path = f"/sessions/{session_id}/config"
    before = gate.json("GET", path)

    answer = gate.ask("PUT", path, {"recall_threshold": 5, "max_predictions": 3})

    body = answer.json()
    wrong = "recall_threshold: Must be a number between 0.0 and 1.0"
    assert (answer.status_code, body["code"]) == (400, "config_invalid")
    assert (body["detail"], body["problems"]) == (wrong, [wrong])
    assert body["error"] == {"code": "CONFIG_INVALID", "message": wrong}
    assert gate.json("GET", path) == before


def test_a_change_made_on_old_knowledge_is_a_conflict(gate) -> None:
    session_id = gate.create(node_id="tuned")
    path = f"/sessions/{session_id}"
    tag = gate.ask("GET", path).headers["etag"]
    gate.json("PUT", f"{path}/config", {"max_predictions": 7}, headers={"If-Match": tag})

    late = gate.ask("PUT", f"{path}/config", {"max_predictions": 8}, headers={"If-Match": tag})

    assert (late.status_code, late.json()["code"]) == (409, "version_conflict")
    assert gate.json("GET", path)["config"]["max_predictions"] == 7


def test_a_session_that_ends_is_gone_in_the_words_of_the_guide(gate) -> None:
    session_id = gate.create(node_id="short", ttl=1)
    gate.json("POST", f"/sessions/{session_id}/observe", {"strings": ["x"]})
    deleted = gate.create(node_id="short")
    gate.json("DELETE", f"/sessions/{deleted}")

    answers = [
        gate.ask("GET", "/sessions/nobody/stm"),
        gate.ask("DELETE", f"/sessions/{deleted}"),
        wait_until(lambda: expired(gate, session_id), deadline_s=5),
    ]

    assert [(one.status_code, one.json()["code"]) for one in answers] == [
        (404, "session_unknown"),
        (404, "session_deleted"),
        (404, "session_expired"),
    ]
    assert answers[2].json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "Session not found",
        "code": "session_expired",
        "hint": "it has expired: create a new one",
        "session_id": session_id,
        "error": {
            "code": "SESSION_NOT_FOUND",
            "message": f"Session {session_id} not found or expired",
            "session_id": session_id,
        },
    }
    assert gate.history(session_id)[0]["content"] == {"strings": ["x"]}


def expired(gate, session_id: str):
    answer = gate.ask("GET", f"/sessions/{session_id}")
    return answer if answer.status_code == 404 else None


def test_the_instance_decides_how_long_a_session_lives(gate) -> None:
    session_id = gate.create(node_id="ended")
    gate.json("DELETE", f"/{gate.instance(session_id)}/sessions/{session_id}")

    answers = [gate.ask("POST", f"/sessions/{session_id}/observe", {}) for _ in range(2)]

    assert [one.json()["code"] for one in answers] == ["session_expired"] * 2


def test_extending_counts_from_now_on_both_sides(gate) -> None:
    session_id = gate.create(node_id="longer", ttl=60)

    gate.json("POST", f"/sessions/{session_id}/extend?ttl_seconds=7200")

    shown = gate.json("GET", f"/sessions/{session_id}")
    assert 7190 < shown["remaining_ttl"] <= 7200


def test_half_a_surrogate_pair_hides_no_history(gate) -> None:
    session_id = gate.create(node_id="half")
    path = f"/sessions/{session_id}"
    gate.client.post(f"{path}/observe", content=r'{"strings": ["\ud800"]}')
    gate.json("POST", f"{path}/observe", {"strings": ["x"]})

    assert [one["content"]["strings"] for one in gate.history(session_id)] == [["\ud800"], ["x"]]


def test_an_extension_is_taken_from_the_body_under_every_name(gate) -> None:
    session_id = gate.create(node_id="clock")
    path = f"/sessions/{session_id}/extend"

    said = [
        gate.json("POST", path, body)["ttl_seconds"]
        for body in ({"ttl": 20}, {"ttl_seconds": 30}, {"idle_timeout_hours": 0.5}, None)
    ]
    refused = gate.ask("POST", path, {"ttl": "soon"})

    assert said == [20, 30, 1800, 3600]
    assert (refused.status_code, refused.json()["problems"]) == (
        422,
        ["ttl: 'soon' is no time of 0 to 315360000"],
    )


def test_a_slash_in_a_name_never_reaches_another_session(gate) -> None:
    gate.json("POST", "/sessions", {"session_id": "a", "node_id": "slash"})

    answers = [
        gate.ask(method, path, {"strings": ["x"]})
        for method, path in (
            ("GET", "/sessions/a%2Fb"),
            ("DELETE", "/sessions/a%2Fb"),
            ("GET", "/sessions/a%2Fexists"),
            ("GET", "/sessions/a%2Fhistory"),
            ("PUT", "/sessions/a%2Fconfig"),
            ("POST", "/sessions/a%2Fb/observe"),
        )
    ]

    assert {(one.status_code, one.json()["code"]) for one in answers} == {(404, "session_unknown")}
    assert answers[-1].json()["session_id"] == "a/b"
    assert gate.history("a") == []


def test_the_sessions_of_a_user_with_a_slash_are_listed(gate) -> None:
    session_id = gate.create(user_id="org/ann")

    for path in ("/users/org/ann/sessions", "/users/org%2Fann/sessions"):
        assert [one["session_id"] for one in gate.json("GET", path)["sessions"]] == [session_id]


def test_lists_come_in_pages_and_belong_to_users(gate) -> None:
    made = [gate.create(user_id="paula") for _ in range(3)]

    first = gate.json("GET", "/users/paula/sessions?limit=2")
    rest = gate.json("GET", f"/users/paula/sessions?cursor={first['next_cursor']}")

    found = [one["session_id"] for one in first["sessions"] + rest["sessions"]]
    assert sorted(found) == sorted(made)
    assert {one["node_id"] for one in first["sessions"]} == {"user_paula"}
    assert (first["count"], rest["count"], rest["next_cursor"]) == (2, 1, None)
    assert gate.json("GET", "/sessions/count")["active_session_count"] >= 3


def test_a_request_that_names_two_sessions_is_refused(gate) -> None:
    session_id = gate.create()

    path = gate.ask("GET", f"/sessions/{session_id}", headers={"session-id": "other"})
    body = gate.ask("POST", "/query", {"query": "x", "thread_id": "p", "session_id": "q"})

    assert [one.status_code for one in (path, body)] == [400, 400]
    assert path.json()["code"] == body.json()["code"] == "session_ambiguous"


def test_bodies_that_cannot_be_are_refused_with_the_field(gate) -> None:
    wrong = {
        '{"ttl": -1}': "ttl: -1 is no time of 0 to 315360000",
        '{"ttl": "soon"}': "ttl: 'soon' is no time of 0 to 315360000",
        '{"node_id": 5}': "node_id: 5 is no text",
        '{"metadata": []}': "metadata: [] is no object",
        '{"user_id": ""}': "user_id '': use 1 to 256 characters",
        '{"session_id": "a b"}': "session id 'a b': use 1 to 128 of A-Z a-z 0-9 . _ : -",
        '{"session_id": "stats"}': "session id 'stats' is a reserved word",
    }

    for text, detail in wrong.items():
        answer = gate.client.post("/sessions", content=text)
        assert (answer.status_code, answer.json()["detail"]) == (422, detail), text
    assert gate.client.post("/sessions", content="{").status_code == 400


def test_cleaning_up_tells_what_ended(gate) -> None:
    gate.json("POST", "/sessions/cleanup")

    assert gate.json("POST", "/sessions/cleanup") == {
        "status": "completed",
        "cleaned_sessions": 0,
        "expired": 0,
        "archived": 0,
        "purged": 0,
        "archives_removed": 0,
        "dry_run": False,
    }


def test_metrics_tell_what_the_guide_wants_alerts_for(gate) -> None:
    gate.create(node_id="counted")

    lines = gate.ask("GET", "/metrics").text.splitlines()

    values = dict(line.split() for line in lines if line.startswith("kato_sessions_"))
    active = gate.json("GET", "/sessions/count")["count"]
    assert float(values["kato_sessions_active"]) == active
    assert float(values["kato_sessions_stored_bytes"]) > 0
    assert float(values["kato_sessions_cleanup_failed"]) == 0
