from homes import wait_until
from kato_manager.gateway.counters import Counters
from kato_manager.gateway.stats import quantile_ms


def start(api, **values):
    return api.post("/api/instances", json={"template": "echo", **values})


def test_templates_list_those_of_the_user_and_the_shipped(api):
    found = {one["name"]: one for one in api.get("/api/templates").json()["templates"]}

    assert {"echo", "echo-port", "kato"} <= set(found)
    assert found["echo"] == {
        "name": "echo",
        "description": "",
        "settings": ["recall_threshold", "max_predictions"],
        "problem": "",
    }


def test_a_template_that_cannot_be_read_says_why_and_hides_no_other(api, home):
    (home.path / "templates" / "bad.yaml").write_text("lisen: fd\n")

    found = {one["name"]: one for one in api.get("/api/templates").json()["templates"]}

    assert "lisen: unknown" in found["bad"]["problem"]
    assert found["echo"]["problem"] == ""


def test_one_template_shows_its_settings(api):
    shown = api.get("/api/templates/echo").json()["template"]["settings"]["recall_threshold"]

    assert shown == {
        "type": "number",
        "default": 0.1,
        "minimum": 0.0,
        "maximum": 1.0,
        "choices": [],
        "aliases": [],
        "help": "r",
    }
    assert api.get("/api/templates/..%2f..%2fetc%2fpasswd").status_code == 404


def test_groups_show_their_members(api, home):
    start(api, id="a", group="nlp")
    start(api, id="b", group="nlp", start="on-demand")
    start(api, id="c")

    assert api.get("/api/groups").json()["groups"] == [
        {
            "id": "nlp",
            "instances": [{"id": "a", "status": "running"}, {"id": "b", "status": "stopped"}],
            "gateway_url": f"http://localhost:{home.gateway_port}/nlp",
        }
    ]


def test_stats_show_use_and_work(api, home):
    start(api, id="a")
    front = Counters(home.path / "gateway" / "counters" / "0.counters")
    for _ in range(4):
        front.end("a", status=200, seconds=0.004, sent_bytes=10)
    front.end("a", status=502, seconds=0.2, sent_bytes=0)
    front.failed("a")

    (shown,) = api.get("/api/stats").json()["instances"]

    assert shown["memory_bytes"] > 1_000_000
    assert (shown["requests"], shown["upstream_errors"], shown["sent_bytes"]) == (5, 1, 40)
    assert shown["statuses"] == {"1xx": 0, "2xx": 4, "3xx": 0, "4xx": 0, "5xx": 1}
    assert shown["p50_ms"] == 4.062


def test_quantiles_are_linear_inside_a_bucket():
    empty = [0] * 14
    fast, slow = empty.copy(), empty.copy()
    fast[3] = 10  # 5 to 10 ms
    slow[13] = 1  # beyond 10 s

    assert quantile_ms(tuple(fast), 0.5) == 7.5
    assert quantile_ms(tuple(fast), 0.95) == 9.75
    assert quantile_ms(tuple(slow), 0.5) == 10_000
    assert quantile_ms(tuple(empty), 0.5) is None


def test_metrics_follow_the_registry(api):
    start(api, id="a")
    wait_until(lambda: 'kato_gateway_instance_up{instance="a"} 1.0' in api.get("/metrics").text)

    api.delete("/api/instances/a")

    wait_until(lambda: 'instance="a"' not in api.get("/metrics").text.split("instance_up")[-1])


def test_the_status_counts_instances(api, home):
    start(api, id="a")
    start(api, id="b", start="on-demand")

    shown = api.get("/status").json()

    assert shown["instances"] == {"running": 1, "stopped": 1}
    assert shown["url"] == f"http://localhost:{home.gateway_port}"
    assert shown["unhealthy"] == {}


def test_a_plan_changes_nothing_and_apply_makes_it_so(api, home):
    wanted = {"instances": [{"id": "a", "template": "echo"}, {"id": "b", "template": "nope"}]}

    wrong = api.post("/api/plan", json=wanted)
    wanted["instances"].pop()
    planned = api.post("/api/plan", json=wanted).json()
    done = api.post("/api/apply", json=wanted)
    again = api.post("/api/apply", json=wanted).json()

    assert wrong.status_code == 422
    assert "no template 'nope'" in wrong.json()["detail"]
    assert [(one["action"], one["id"], one["cause"]) for one in planned["steps"]] == [
        ("start", "a", "not recorded")
    ]
    assert (done.status_code, done.json()["steps"][0]["result"]) == (200, "done")
    assert again["steps"] == []
    assert home.ids() == ["a"]


def test_a_partly_failed_apply_is_207_and_tells_which(api, home):
    wanted = {
        "instances": [
            {"id": "good", "template": "echo"},
            {"id": "bad", "template": "echo", "env": {"ECHO": "die"}},
        ]
    }

    answer = api.post("/api/apply", json=wanted)

    assert answer.status_code == 207
    assert {one["id"]: one["result"] for one in answer.json()["steps"]} == {
        "good": "done",
        "bad": "failed",
    }
    assert home.ids() == ["good"]


def test_no_variable_of_the_gateway_gets_into_a_file(api, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_GATEWAY", "s3cret")
    content = b"instances: [{id: a, template: echo, env: {X: '${SECRET_OF_THE_GATEWAY}'}}]"

    answer = api.post("/api/plan", content=content)

    assert answer.json()["steps"][0]["spec"]["env"] == {"X": ""}
