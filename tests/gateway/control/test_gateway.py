"""The whole gateway, as a user runs it: front, control process and command line."""

import http.client
import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.request import Request, urlopen

import hypothesis
import pytest
import schemathesis

from homes import Home, is_served, new_home, wait_until
from kato_manager.gateway import lifecycle, token

ENDLESS = {"/api/events", "/api/instances/{word}/logs"}
SESSIONS = ("/sessions", "/query", "/users", "/chat")  # tested with what they need


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A home whose gateway is up; its tests use different ids."""
    with new_home(tmp_path_factory.mktemp("gateway")) as one:
        done = one.kato("gateway", "up")
        assert done.code == 0, done.err
        wait_until(lambda: ask(one, "GET", "/status")[0] == 200, "the control process answers")
        yield one
        one.kato("gateway", "down")


def ask(home: Home, method: str, path: str, body=None, **headers: str):
    """Status and JSON of one request through the front."""
    connection = http.client.HTTPConnection("127.0.0.1", home.gateway_port, timeout=30)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, sent)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    try:
        return answer.status, json.loads(content)
    except ValueError:
        return answer.status, content.decode()


def bearer(home: Home) -> str:
    return f"Bearer {token.read(home.path)}"


def start(home: Home, **values):
    body = {"template": "echo", **values}
    status, answer = ask(home, "POST", "/api/instances", body, Authorization=bearer(home))
    assert status == 201, answer
    return answer["instance"]


def test_reading_needs_no_token_on_this_machine_and_changes_do(running):
    assert ask(running, "GET", "/api/instances")[0] == 200

    status, answer = ask(running, "POST", "/api/instances", {"id": "no"})

    assert (status, answer["code"]) == (401, "token_required")
    assert "no" not in running.ids()


@pytest.mark.parametrize("given", ["Bearer wrong", "Bearer", "Basic Zm9v", "Bearer é"])
def test_a_wrong_token_is_refused_for_reading_too(running, given):
    status, answer = ask(running, "GET", "/api/instances", Authorization=given)

    assert (status, answer["code"]) == (401, "token_wrong")


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Forwarded_For": "127.0.0.1"},
        {"X_Forwarded_For": ""},
        {"X-Forwarded-For": "127.0.0.1, 127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
    ],
)
def test_no_header_of_a_client_gives_it_rights(running, headers):
    status, _ = ask(running, "DELETE", "/api/instances/nothing", **headers)

    assert status == 401


def test_who_comes_by_way_of_another_machine_needs_the_token_to_read(running):
    far = {"X-Forwarded-For": "203.0.113.7"}

    assert ask(running, "GET", "/api/instances", **far)[0] == 401
    assert ask(running, "GET", "/metrics", **far)[0] == 401
    assert ask(running, "GET", "/api/instances", **far, Authorization=bearer(running))[0] == 200


@pytest.mark.parametrize("path", ["/api/instances", "/metrics", "/status", "/api/events", "/docs"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ],
    ids=["rebinding", "origin", "null-origin", "no-cors"],
)
def test_pages_of_other_sites_reach_no_path_of_the_control_process(running, path, headers):
    status, answer = ask(running, "GET", path, **headers)

    assert status == 403
    assert answer["code"] in {"host_not_allowed", "origin_not_allowed"}


def test_what_is_internal_cannot_be_reached_through_the_front(running):
    status, _ = ask(running, "POST", "/internal/wake/a", Authorization=bearer(running))

    assert status == 404


def test_twenty_first_requests_wait_for_one_start(running):
    start(running, id="lazy", start="on-demand")

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: ask(running, "GET", "/lazy/x"), range(20)))

    assert {status for status, _ in answers} == {200}
    assert {answer["instance_id"] for _, answer in answers} == {"lazy"}
    assert len({answer["pid"] for _, answer in answers}) == 1
    log = running.path / "instances" / "kato-lazy" / "processor.log"
    assert log.read_text().count("echo lazy starts") == 1


def test_those_who_wait_hear_why_it_could_not_start(running):
    start(running, id="broken", start="on-demand", env={"ECHO": "die"})

    status, answer = ask(running, "GET", "/broken/x")

    assert (status, answer["code"]) == (502, "start_failed")
    assert "cannot go on" in answer["detail"]


def test_events_and_logs_come_as_they_happen(running):
    with socket.create_connection(("127.0.0.1", running.gateway_port), 30) as connection:
        connection.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        stream = connection.makefile("rb")
        assert b"text/event-stream" in b"".join(iter(stream.readline, b"\r\n"))

        start(running, id="seen")

        found = (line for line in stream if line.startswith(b"data: ") and b'"seen"' in line)
        assert json.loads(next(found)[6:])["kind"] == "added"
    url = f"http://127.0.0.1:{running.gateway_port}/api/instances/seen/logs?follow=false"
    with urlopen(Request(url), timeout=30) as answer:
        assert answer.read() == b"id: 1\ndata: echo seen starts\n\nevent: end\ndata:\n\n"


def test_requests_are_counted_for_prometheus(running):
    start(running, id="counted")
    for _ in range(3):
        ask(running, "GET", "/counted/x")

    def text():
        return ask(running, "GET", "/metrics")[1]

    wanted = 'kato_gateway_requests_total{instance="counted",status="2xx"} 3.0'
    wait_until(lambda: wanted in text())
    buckets = [one for one in text().splitlines() if "seconds_bucket{" in one and "counted" in one]
    assert buckets[-1].endswith(" 3.0")
    assert 'le="+Inf"' in buckets[-1]


def test_the_control_process_comes_back_when_it_is_killed(running):
    pid = ask(running, "GET", "/status")[1]["pid"]

    os.kill(pid, signal.SIGKILL)

    wait_until(
        lambda: (found := ask(running, "GET", "/status"))[0] == 200 and found[1]["pid"] != pid
    )


def test_commands_work_on_a_gateway_elsewhere(running, tmp_path):
    elsewhere = {"KATO_HOME": str(tmp_path), "KATO_TOKEN": token.read(running.path)}

    def kato(*words, **environ):
        to = ["--gateway", f"http://127.0.0.1:{running.gateway_port}"]
        return running.kato(*to, *words, env={**elsewhere, **environ})

    started = kato("start", "--id", "far", "--template", "echo", "--recall-threshold", "0.3")
    listed = kato("list", "--format", "json").json["instances"]
    wrong = kato("start", "--id", "far2", "--template", "echo", "--recal-threshold", "0.3")
    refused = kato("stop", "far", KATO_TOKEN="wrong")
    gone = kato("stop", "nobody")
    logs = kato("logs", "far")
    status = kato("status", "far")
    nameless = kato("stop")
    top = kato("top")
    stopped = kato("stop", "far")

    assert started.code == 0, started.err
    assert started.out == f"far  running  http://localhost:{running.gateway_port}/far/\n"
    (far,) = [one for one in listed if one["id"] == "far"]
    assert far["settings"]["recall_threshold"] == 0.3
    assert wrong.code == 2
    assert 'unknown setting, did you mean "recall_threshold"?' in wrong.err
    assert (refused.code, refused.err.splitlines()[0]) == (
        1,
        "error: the token is not the one of this gateway",
    )
    assert (gone.code, gone.err.splitlines()[0]) == (3, "error: there is no instance 'nobody'")
    assert (status.code, status.out.splitlines()[1].split()[:3]) == (
        0,
        ["far", "KatoProcessor", "running"],
    )
    assert nameless.code == 2
    assert logs.out == "echo far starts\n"
    assert top.out.splitlines()[0].split()[:2] == ["ID", "STATUS"]
    assert stopped.out == "far  stopped\n"


def test_a_gateway_that_is_not_there_is_told(home):
    done = home.kato("--gateway", f"http://127.0.0.1:{home.gateway_port}", "list")

    assert done.code == 5
    assert done.err.startswith(f"error: the gateway at http://127.0.0.1:{home.gateway_port} does")


def test_a_file_is_applied_elsewhere(running, tmp_path):
    file = tmp_path / "multi.yaml"
    file.write_text("instances:\n  - {id: one, template: echo}\n  - {id: two, template: echo}\n")
    to = ["--gateway", f"http://127.0.0.1:{running.gateway_port}"]

    planned = running.kato(*to, "plan", "-f", str(file))
    done = running.kato(*to, "apply", "-f", str(file))
    file.write_text("instances:\n  - {id: two, template: echo}\n")
    pruned = running.kato(*to, "apply", "-f", str(file), "--prune")

    assert (
        planned.out
        == "start    one            not recorded\nstart    two            not recorded\n"
    )
    assert done.out == "start    one            done\nstart    two            done\n"
    assert pruned.out == "stop     one            done\n"
    assert "one" not in running.ids()


def test_the_token_is_for_the_owner_only(running):
    assert token.path(running.path).stat().st_mode & 0o777 == 0o600
    assert (lifecycle.folder(running.path) / "control.sock").stat().st_mode & 0o777 == 0o600


@pytest.mark.filterwarnings("ignore")
def test_no_generated_request_is_a_server_error(running):
    start(running, id="fuzzed")
    document = ask(running, "GET", "/api/openapi.json")[1]
    url = f"http://127.0.0.1:{running.gateway_port}"
    headers = {"Authorization": bearer(running)}
    tried = []
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = found.ok()
        if operation.path in ENDLESS or operation.path.startswith(SESSIONS):
            continue
        tried.append(operation.label)

        @hypothesis.settings(
            max_examples=12,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy())
        def send(case):
            answer = case.call(base_url=url, headers=headers, timeout=20)
            assert answer.status_code < 500, (case.as_curl_command(), answer.text)

        send()

    assert len(tried) == 14
    assert ask(running, "GET", "/status")[0] == 200


def test_an_open_websocket_keeps_an_idle_instance_up(running):
    port = start(running, id="talk", template="kato", start="on-demand", idle_timeout_s=1)[
        "api_port"
    ]

    def status():
        return ask(running, "GET", "/api/instances/talk")[1]["instance"]["status"]

    with socket.create_connection(("127.0.0.1", running.gateway_port), 60) as connection:
        connection.sendall(
            b"GET /talk/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 101 ")
        idle_for_long_s = time.monotonic() + 2.5
        wait_until(lambda: time.monotonic() > idle_for_long_s)
        assert status() == "running"

    wait_until(lambda: status() == "stopped")
    assert not is_served(port)
