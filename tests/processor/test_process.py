"""The process: how it starts, stops, and what it survives."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing, suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from kato_processor.naming import pattern_name

from .conftest import Client
from .process import COMMAND, environment, processor

NOT_FOR_HEALTH = {
    "fastapi",
    "pydantic",
    "numpy",
    "rapidfuzz",
    "psutil",
    "yaml",
    "websockets",
    "redis",
    "kato_processor.prediction",
    "kato_processor.filters",
}


def test_the_inherited_socket_answers_with_the_instances_name(tmp_path: Path) -> None:
    with processor(tmp_path, KATO_INSTANCE_ID="version-a") as (client, _):
        assert client.get("/ping")["id"] == "version-a"
        assert client.headers["X-Kato-Instance"] == "version-a"
        assert client.get("/health")["instance_id"] == "version-a"
        assert client.get("/status")["instance_id"] == "version-a"


@pytest.mark.parametrize(("name", "header"), [("😀 %", "%F0%9F%98%80 %"), ("ä", "%C3%A4")])
def test_an_id_of_any_characters_is_answered_with(tmp_path: Path, name: str, header: str) -> None:
    with processor(tmp_path, KATO_INSTANCE_ID=name) as (client, _):
        assert client.get("/health")["instance_id"] == name
        assert client.headers["X-Kato-Instance"] == header


def test_the_listening_descriptor_may_come_by_environment(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            COMMAND,
            env=environment(tmp_path, KATO_LISTEN_FD=str(listener.fileno())),
            pass_fds=[listener.fileno()],
        )
        client = Client(listener.getsockname()[1])
        assert client.get("/health")["status"] == "healthy"
        client.close()
        process.terminate()

        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_what_is_under_way(tmp_path: Path, signum: signal.Signals) -> None:
    with processor(tmp_path) as (client, pid):
        session = client.session("stop")
        answers = []
        observations = [{"strings": [f"s{n}"]} for n in range(20_000)]

        def observe() -> None:
            answers.append(
                client.send("POST", session + "/observe-sequence", {"observations": observations})
            )

        thread = threading.Thread(target=observe)
        other = Client(client.port)
        thread.start()
        while other.get("/concurrency")["peak"]["concurrent_requests"] < 2:
            assert thread.is_alive()
        other.close()
        os.kill(pid, signum)
        thread.join(timeout=30)

        assert answers[0][0] == 200


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_all_workers_stop_politely(tmp_path: Path, signum: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            [*COMMAND, "--fd", str(listener.fileno()), "--workers", "2"],
            env=environment(tmp_path),
            pass_fds=[listener.fileno()],
        )
        client = Client(listener.getsockname()[1])
        client.get("/health")
        client.close()
        process.send_signal(signum)

        assert process.wait(timeout=30) == 0


def test_the_first_healthy_answer_imports_little(tmp_path: Path) -> None:
    code = (
        "import sys, asyncio\n"
        "from kato_processor.api.app import create_app\n"
        "from kato_processor.environment import from_environment\n"
        "async def main():\n"
        "    app = create_app(from_environment({'KATO_DATA_DIR': sys.argv[1]}))\n"
        "    async def receive(): return {'type': 'http.request'}\n"
        "    async def send(message): print(message.get('status', ''), file=sys.stderr)\n"
        "    scope = {'type': 'http', 'method': 'GET', 'path': '/health', 'headers': [],\n"
        "             'query_string': b'', 'app': app, 'root_path': ''}\n"
        "    async with app.router.lifespan_context(app):\n"
        "        await app(scope, receive, send)\n"
        "asyncio.run(main())\n"
        "print(*sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stderr.split() == ["200"]
    assert set(done.stdout.split()) & NOT_FOR_HEALTH == set()


def test_patterns_and_the_default_session_survive_a_restart(tmp_path: Path) -> None:
    with processor(tmp_path) as (client, _):
        client.post("/observe", {"strings": ["a"]})
        client.post("/observe", {"strings": ["b"]})
        name = client.post("/learn")["pattern_name"]
        client.post("/observe", {"strings": ["a"]})

    with processor(tmp_path) as (client, _):
        client.post("/observe", {"strings": ["b"]})
        predictions = client.get("/predictions")["predictions"]

    assert [prediction["name"] for prediction in predictions] == [name.removeprefix("PTRN|")]


def test_kill_9_during_learning_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Four clients learn; the process is killed among it; what was answered is there, whole."""
    acknowledged: list[tuple[str, list[list[str]]]] = []
    enough = threading.Event()

    def learn(port: int, who: int) -> None:
        gone = (OSError, HTTPException, AssertionError, ValueError)
        with suppress(*gone), closing(Client(port)) as client:
            session = client.session("crash")
            for number in range(10_000):
                events = [[f"w{who}"], [f"n{number}", "x"], ["end"]]
                body = {"observations": [{"strings": e} for e in events], "learn_at_end": True}
                learned = client.post(session + "/observe-sequence", body)
                acknowledged.append((learned["final_learned_pattern"], events))
                if len(acknowledged) > 200:
                    enough.set()

    with processor(tmp_path) as (client, pid):
        client.get("/health")
        threads = [threading.Thread(target=learn, args=(client.port, who)) for who in range(4)]
        for thread in threads:
            thread.start()
        assert enough.wait(timeout=60)
        os.kill(pid, signal.SIGKILL)
        for thread in threads:
            thread.join(timeout=30)

    with processor(tmp_path) as (client, _):
        for name, events in acknowledged:
            assert name == pattern_name(events)
            answer = client.get(f"/pattern/{name.replace('|', '%7C')}?node_id=crash")["pattern"]
            assert answer["pattern"]["pattern_data"] == events
            assert answer["pattern"]["frequency"] == 1
        symbols = client.get("/symbols/stats?node_id=crash")["symbols"]
        assert symbols["end"]["frequency"] >= len(acknowledged)
        assert symbols["end"] == {**symbols["x"], "name": "end"}


def test_several_workers_share_sessions_and_knowledge(tmp_path: Path) -> None:
    """Connections land on different workers: no observation is lost, what one learns all know."""

    def observe(port: int, session: str, who: int) -> None:
        client = Client(port)
        for number in range(25):
            client.post(session + "/observe", {"strings": [f"{who}-{number}"]})
        client.close()

    with processor(tmp_path, "--workers", "3") as (client, _):
        assert client.get("/concurrency")["configuration"]["workers"] == 3
        session = client.session("workers")
        threads = [
            threading.Thread(target=observe, args=(client.port, session, who)) for who in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        memory = client.get(session + "/stm")["stm"]
        learned = client.post(session + "/learn")["pattern_name"]
        seen = set()
        for _ in range(12):
            other = Client(client.port)
            other.get("/ping")
            asking = other.session("workers")
            other.post(asking + "/observe", {"strings": ["1-1"]})
            other.post(asking + "/observe", {"strings": ["1-2"]})
            other.post(asking + "/config", {"recall_threshold": 0.01})
            seen.update(p["name"] for p in other.get(asking + "/predictions")["predictions"])
            other.close()

    assert sorted(symbol for [symbol] in memory) == sorted(
        f"{who}-{number}" for who in range(8) for number in range(25)
    )
    for who in range(8):
        own = [symbol for [symbol] in memory if symbol.startswith(f"{who}-")]
        assert own == [f"{who}-{number}" for number in range(25)]
    assert seen == {learned.removeprefix("PTRN|")}


def test_two_client_libraries_agree_under_concurrency(tmp_path: Path) -> None:
    import aiohttp
    import httpx

    async def with_aiohttp(url: str) -> list[int]:
        async with aiohttp.ClientSession() as http:

            async def one(number: int) -> int:
                async with http.post(url, json={"strings": [f"a{number}"]}) as response:
                    return response.status

            return list(await asyncio.gather(*map(one, range(60))))

    async def with_httpx(url: str) -> list[int]:
        async with httpx.AsyncClient(timeout=30) as http:

            async def one(number: int) -> int:
                return (await http.post(url, json={"strings": [f"h{number}"]})).status_code

            return list(await asyncio.gather(*map(one, range(60))))

    async def both(url: str) -> list[int]:
        first, second = await asyncio.gather(with_aiohttp(url), with_httpx(url))
        return [*first, *second]

    with processor(tmp_path) as (client, _):
        session = client.session("libraries")
        statuses = asyncio.run(both(f"http://127.0.0.1:{client.port}{session}/observe"))

        assert set(statuses) == {200}
        assert client.get(session + "/stm")["length"] == 120
