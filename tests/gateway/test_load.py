"""Requests while instances come, go and crash: none is lost, none reaches the wrong one."""

import http.client
import json
import random
import threading
import time

import pytest

from gateway.servers import DEADLINE_S, EchoServer, FrontThread


@pytest.mark.parametrize(
    "seconds", [2.0, pytest.param(60.0, marks=[pytest.mark.soak, pytest.mark.timeout(180)])]
)
def test_changes_around_healthy_instances_cost_them_no_request(
    front: FrontThread, seconds: float
) -> None:
    healthy = [EchoServer(f"healthy-{n}") for n in range(3)]
    for server in healthy:
        front.record(server.name, server.server_port)
    end = time.monotonic() + seconds
    faults: list[object] = []
    answered: list[str] = []
    threads = [
        threading.Thread(target=_ask, args=(front, server.name, end, answered, faults))
        for server in healthy
        for _ in range(2)
    ]

    for thread in threads:
        thread.start()
    _churn(front, end)
    for thread in threads:
        thread.join(seconds + DEADLINE_S)
    for server in healthy:
        server.close()

    assert faults == []
    assert len(answered) > 100
    assert set(answered) == {server.name for server in healthy}


def _ask(front, name: str, end: float, answered: list[str], faults: list[object]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=DEADLINE_S)
    while time.monotonic() < end:
        method = random.choice(["GET", "POST"])
        try:
            connection.request(method, f"/{name}/x", body=name if method == "POST" else None)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            faults.append(error)
            return
        if response.status != 200 or json.loads(body)["instance"] != name:
            faults.append((response.status, body))
            return
        answered.append(name)
    connection.close()


def _churn(front: FrontThread, end: float) -> None:
    """Others start, are asked, crash with requests in flight, move, and stop."""
    number = 0
    while time.monotonic() < end:
        number += 1
        name = f"other-{number % 5}"
        server = EchoServer(name)
        front.record(name, server.server_port)
        status, headers, _ = front.get(f"/{name}/x")
        assert (status, headers["x-instance"]) == (200, name)
        server.close()
        if number % 2:
            front.forget(name)
            assert front.get(f"/{name}/x")[0] == 404
