import json
import os

import pytest

from homes import get, is_served, wait_until


def start(api, **values):
    return api.post("/api/instances", json={"template": "echo", **values})


def test_starting_a_new_instance_answers_201_and_what_list_shows(api, home):
    answer = start(api, id="a", recall_threshold=0.3)

    assert answer.status_code == 201
    (listed,) = home.kato("list", "--format", "json").json["instances"]
    assert answer.json() == {"version": 1, "instance": listed}
    assert listed["settings"] == {"recall_threshold": 0.3, "max_predictions": 100}
    assert get(listed["api_port"], "/x")["instance_id"] == "a"


def test_the_list_is_that_of_the_command(api, home):
    start(api, id="a", group="nlp")
    start(api, id="b", labels={"team": "text"})

    assert api.get("/api/instances").json() == home.kato("list", "--format", "json").json
    by_group = api.get("/api/instances", params={"group": "nlp"}).json()
    by_label = api.get("/api/instances", params={"label": "team=text"}).json()
    assert [one["id"] for one in by_group["instances"]] == ["a"]
    assert [one["id"] for one in by_label["instances"]] == ["b"]


def test_starting_what_runs_is_success_and_with_other_settings_a_conflict(api, home):
    start(api, id="a")

    same, other = start(api, id="a"), start(api, id="a", recall_threshold=0.9)

    told = home.start("--id", "a", "--recall-threshold", "0.9").err
    said = other.json()
    assert same.status_code == 200
    assert told == f"error: {said['detail']}\nhint: {said['hint']}\n"
    assert other.headers["content-type"] == "application/problem+json"
    assert said == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": said["detail"],
        "code": "conflict",
        "hint": "kato restart a with the same options changes them",
        "error": {"code": "CONFLICT", "message": said["detail"]},
    }


@pytest.mark.parametrize(
    ("words", "raw"),
    [
        (["--id", "a", "--recall-threshold", "7"], {"id": "a", "recall_threshold": "7"}),
        (["--id", "a/b"], {"id": "a/b"}),
        (["--id", "api"], {"id": "api"}),
        (["--id", "a", "--restart", "sometimes"], {"id": "a", "restart": "sometimes"}),
        (["--id", "a", "--port", "80"], {"id": "a", "port": 80}),
    ],
)
def test_mistakes_are_told_in_the_words_of_the_command(api, home, words, raw):
    told = home.start(*words).err

    answer = start(api, **raw)

    assert answer.status_code == 422
    assert told == "".join(f"error: {one}\n" for one in answer.json()["problems"]) + (
        f"hint: {answer.json()['hint']}\n" if "hint" in answer.json() else ""
    )


def test_an_unknown_setting_gets_a_suggestion(api):
    answer = start(api, id="a", recal_threshold=0.3)

    assert answer.status_code == 422
    assert answer.json()["detail"] == (
        'recal_threshold: unknown setting, did you mean "recall_threshold"?'
    )


def test_an_id_is_made_when_none_is_given(api, home):
    made = start(api).json()["instance"]["id"]

    assert made.startswith("kato-")
    assert home.ids() == [made]


def test_on_demand_is_declared_only(api, home):
    answer = start(api, id="a", start="on-demand")

    assert answer.json()["instance"]["status"] == "stopped"
    assert not is_served(answer.json()["instance"]["api_port"])


def test_an_instance_shows_its_spec_and_hides_its_environment_from_who_may_not_change_it(api):
    start(api, id="a", env={"SECRET": "s3cret"})

    own = api.get("/api/instances/a").json()["instance"]
    others = api.get("/api/instances/a", headers={"X-Forwarded-For": "127.0.0.1"})

    assert own["spec"]["env"] == {"SECRET": "s3cret"}
    assert others.json()["instance"]["spec"]["env"] == {"SECRET": "***"}
    assert "s3cret" not in others.text


def test_stop_start_and_restart(api, home):
    port = start(api, id="a").json()["instance"]["api_port"]
    before = get(port)["pid"]

    restarted = api.post("/api/instances/a/restart", json={"recall_threshold": 0.4})
    after = get(port)
    stopped = api.delete("/api/instances/a")

    assert restarted.json()["instance"]["settings"]["recall_threshold"] == 0.4
    assert after["pid"] != before
    assert after["settings"]["ECHO_RECALL_THRESHOLD"] == "0.4"
    assert stopped.json() == {"version": 1, "stopped": ["a"]}
    assert home.is_clean()


def test_an_unknown_instance_is_404_with_the_text_of_the_command(api, home):
    start(api, id="alpha")

    answer = api.post("/api/instances/alpah/stop")

    assert answer.status_code == 404
    assert home.kato("stop", "alpah").err == (
        f"error: {answer.json()['detail']}\nhint: {answer.json()['hint']}\n"
    )


def test_a_pattern_does_not_stop_several(api, home):
    start(api, id="a1")

    assert api.delete("/api/instances/a*").status_code == 404
    assert home.ids() == ["a1"]


def test_what_dies_at_start_is_502_with_its_last_lines(api, home):
    answer = start(api, id="a", env={"ECHO": "die"})

    assert answer.status_code == 502
    assert answer.json()["code"] == "start_failed"
    assert "cannot go on: no reason at all" in answer.json()["detail"]
    assert home.is_clean()


def test_what_never_gets_ready_is_504(api, home):
    answer = start(api, id="a", env={"ECHO": "ill"}, ready_timeout_s=0.2)

    assert (answer.status_code, answer.json()["code"]) == (504, "not_ready")
    assert home.is_clean()


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"[]", 422),
        (b'"a"', 422),
        (b'{"id": NaN}', 400),
        (b'{"id": "\\ud800"}', 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b'{"id": "a", "port": ' + b"9" * 5000 + b"}", 400),
    ],
)
def test_bodies_that_are_no_object_are_refused(api, content, status):
    answer = api.post("/api/instances", content=content)

    assert answer.status_code == status
    assert answer.json()["status"] == status


def test_a_body_beyond_the_limit_is_413(api):
    answer = api.post("/api/instances", content=b" " * (4 * 1024 * 1024 + 1))

    assert answer.status_code == 413


def test_the_document_describes_every_path(api):
    document = api.get("/api/openapi.json").json()

    own = {one for one in document["paths"] if one.startswith(("/api/", "/status"))}
    assert own == {
        "/api/instances",
        "/api/instances/{word}",
        "/api/instances/{word}/start",
        "/api/instances/{word}/restart",
        "/api/instances/{word}/stop",
        "/api/instances/{word}/logs",
        "/api/events",
        "/api/plan",
        "/api/apply",
        "/api/templates",
        "/api/templates/{name}",
        "/api/groups",
        "/api/stats",
        "/status",
    }
    assert "/api/openapi.json" in api.get("/api/docs").text


def test_what_was_stopped_by_somebody_else_is_seen_at_once(api, home):
    start(api, id="a")

    home.kato("stop", "a")

    assert api.get("/api/instances").json()["instances"] == []


def test_a_dead_instance_is_listed_as_exited(api):
    pid = get(start(api, id="a").json()["instance"]["api_port"])["pid"]

    os.kill(pid, 9)

    wait_until(
        lambda: json.loads(api.get("/api/instances").text)["instances"][0]["status"] == "exited"
    )
