"""Health, metrics and events of a processor."""

import asyncio
import json
import sqlite3
from typing import Any

import pytest
import websockets

from kato_processor.api.events import Events

from .conftest import Client


def test_health_is_healthy_and_counts_sessions(client: Client) -> None:
    before = client.get("/health")
    client.session("health")
    after = client.get("/health")

    assert after["status"] == after["processor_status"] == "healthy"
    assert after["issues"] == []
    assert after["active_sessions"] == before["active_sessions"] + 1
    assert after["service_name"] == "kato"


def test_metrics_count_requests_sessions_and_knowledge(client: Client) -> None:
    before = client.get("/metrics")
    session = client.session("measured")
    client.post(session + "/observe", {"strings": ["a", "b"]})
    client.post(session + "/learn")

    after = client.get("/metrics")

    assert after["performance"]["total_requests"] == before["performance"]["total_requests"] + 4
    assert after["performance"]["total_errors"] == 0
    assert after["sessions"]["total_created"] == before["sessions"]["total_created"] + 1
    assert after["sessions"]["created_per_minute"] >= 1
    assert after["nodes"]["measured"]["patterns"] == 1
    assert after["nodes"]["measured"]["size_bytes"] > 0
    assert 0 <= after["resources"]["memory_percent"] <= 100
    assert after["error"] is None


def test_every_series_can_be_asked_for(client: Client) -> None:
    stats = client.get("/stats?minutes=5")

    assert len(stats["time_series"]) == 20
    for name in stats["time_series"]:
        metric = client.get(f"/metrics/{name}?minutes=5")
        assert metric["statistics"]["count"] == len(metric["data_points"]) > 0
    status, body = client.send("GET", "/metrics/unknown")
    assert status == 404
    assert body == {"detail": "No data available for metric 'unknown' in the last 10 minutes"}


def test_diagnostics_answer_in_their_shapes(client: Client) -> None:
    assert client.get("/")["service"] == "KATO API"
    assert client.get("/status")["processors"]["max_processors"] == 100
    assert client.get("/concurrency")["current"]["concurrent_requests"] == 1
    assert client.get("/cache/stats")["cache_health"]["status"] == "healthy"
    assert client.post("/cache/invalidate?session_id=s")["session_id"] == "s"
    assert client.get("/distributed-stm/stats")["distributed_stm_enabled"] is False
    assert client.get("/connection-pools")["status"] == "healthy"
    assert client.get("/percept-data")["node_id"] == "default_node_kato"
    assert "warning" in client.get("/cognition-data?node_id=x")


def test_clients_are_told_of_sessions(client: Client) -> None:
    for path in ("/ws/events", "/ws"):
        events = asyncio.run(_told(client, f"ws://127.0.0.1:{client.port}{path}"))

        snapshot, pong, created, destroyed = events
        assert snapshot["event_type"] == "state.snapshot"
        assert snapshot["data"]["system_status"] == "healthy"
        assert pong == "pong"
        assert created["event_type"] == "session.created"
        assert created["data"]["node_id"] == "told"
        assert destroyed["event_type"] == "session.destroyed"
        assert destroyed["data"]["session_id"] == created["data"]["session_id"]
        assert destroyed["data"]["reason"] == "explicit_delete"


class _Waiting:
    """A client that takes an event only when the next client was offered it too."""

    def __init__(self) -> None:
        self.offered = asyncio.Event()
        self.waits_for = self
        self.taken: list[str] = []
        self._greeted = False

    async def accept(self) -> None: ...

    async def receive(self) -> Any:
        await asyncio.Event().wait()

    async def send_text(self, text: str) -> None:
        if self._greeted:
            self.offered.set()
            await self.waits_for.offered.wait()
            self.taken.append(json.loads(text)["event_type"])
        self._greeted = True


def test_no_client_waits_for_another_to_be_told() -> None:
    async def tell() -> list[list[str]]:
        events, clients = Events(), [_Waiting(), _Waiting()]
        clients[0].waits_for, clients[1].waits_for = clients[1], clients[0]
        attending = [asyncio.create_task(events.attend(one, 0)) for one in clients]
        await asyncio.sleep(0)  # both are greeted
        await events.tell("session.created", {})
        for task in attending:
            task.cancel()
        return [one.taken for one in clients]

    assert asyncio.run(tell()) == [["session.created"]] * 2


async def _told(client: Client, url: str) -> list[Any]:
    async with websockets.connect(url) as socket:
        snapshot = json.loads(await socket.recv())
        await socket.send("ignored")
        await socket.send("ping")
        pong = await socket.recv()
        session = await asyncio.to_thread(client.session, "told")
        created = json.loads(await socket.recv())
        await asyncio.to_thread(client.send, "DELETE", session)
        destroyed = json.loads(await socket.recv())
        await socket.send(b"binary")
        await socket.wait_closed()
        assert socket.close_code == 1000
        return [snapshot, pong, created, destroyed]


def test_a_failure_is_answered_with_its_trace_and_logged(
    serving: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = serving()
    client = Client(server.port)
    client.get("/health")
    processor = server.app.state.context.processor
    monkeypatch.setattr(processor, "predict", lambda _session: 1 / 0)
    headers = {"X-Trace-ID": "mine", "Origin": "http://page.example"}

    status, body = client.send("GET", "/predictions", headers=headers)

    assert (status, body) == (500, "Internal Server Error")
    assert client.headers["X-Trace-ID"] == "mine"
    assert client.headers["Access-Control-Allow-Origin"] == "http://page.example"
    assert [record.getMessage() for record in caplog.records] == [
        "GET /predictions failed, trace mine"
    ]
    assert "ZeroDivisionError" in caplog.text
    assert client.get("/health")["status"] == "healthy"
    client.close()


def test_a_store_that_fails_is_named_to_client_and_operator(
    serving: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = serving()
    client = Client(server.port)
    client.get("/health")

    def full(*_arguments: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(server.app.state.context.processor, "learn", full)

    assert client.send("POST", "/learn") == (503, {"detail": "database or disk is full"})

    assert [record.getMessage() for record in caplog.records] == [
        "POST /learn refused: database or disk is full"
    ]
    client.close()
