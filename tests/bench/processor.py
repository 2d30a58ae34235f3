"""Measures one processor process over HTTP: learning, predicting, a steady load, start and memory.

Every figure is printed with its target. Patterns are random: 10 to 30 events of one symbol each
out of 2,000; a query is 7 consecutive symbols of a known pattern at threshold 0.1.
"""

import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil

VOCABULARY = 2_000
QUERY_SYMBOLS = 7
QUERIES = 40
BATCH_PATTERNS = 2_000
TAUGHT_AT_ONCE = 1_000
LOAD_PER_S = 300
LOAD_S = 20
LOAD_SESSIONS = 200
START_PARTS = {
    "python itself": "pass",
    "+ uvicorn, uvloop, httptools": "import uvicorn, uvloop, httptools",
    "+ starlette": "import uvicorn, uvloop, httptools, starlette.applications",
    "+ kato_processor.api.app": "import uvicorn, uvloop, httptools, kato_processor.api.app",
}
Pattern = list[str]


def main() -> None:
    rng = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        _starts(Path(folder) / "starts")
        with _processor(Path(folder) / "single") as client:
            _one_by_one(client, rng)
        with _processor(Path(folder) / "batch") as client:
            _batched(client, rng)
        with _processor(Path(folder) / "load") as client:
            _steady_load(client)
        _predictions(Path(folder) / "predictions", rng)


def _report(name: str, value: float, unit: str, *, target: float, at_least: bool = False) -> None:
    met = value >= target if at_least else value <= target
    sign = ">=" if at_least else "<="
    word = "" if met else "   MISSED"
    print(f"{name:<58} {value:>10.1f} {unit:<6} (target {sign} {target:g}){word}")


class Client:
    """One keep-alive connection to a processor."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.process = psutil.Process(process.pid)
        self._connection = HTTPConnection("127.0.0.1", port, timeout=120)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body)
        self._connection.request(method, path, content)
        response = self._connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise RuntimeError(f"{method} {path}: {response.status} {text[:200]!r}")
        return json.loads(text)

    def session(self, **more: Any) -> str:
        return (
            f"/sessions/{self.ask('POST', '/sessions', {'node_id': 'bench', **more})['session_id']}"
        )


@contextmanager
def _processor(folder: Path) -> Iterator[Client]:
    process, port = _started(folder)
    try:
        client = Client(port, process)
        client.ask("GET", "/health")
        yield client
    finally:
        process.terminate()
        process.wait(timeout=30)


def _started(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        environ = {**os.environ, "KATO_DATA_DIR": str(folder), "LOG_LEVEL": "WARNING"}
        process = subprocess.Popen(
            [sys.executable, "-m", "kato_processor", "--fd", str(listener.fileno())],
            env=environ,
            pass_fds=[listener.fileno()],
        )
        return process, listener.getsockname()[1]


def _starts(folder: Path) -> None:
    starts = [_start(folder) for _ in range(5)]
    for name, code in START_PARTS.items():
        took = statistics.median(_python(code) for _ in range(5))
        print(f"  of the start: {name:<44} {took * 1000:>10.1f} ms")
    cpu = statistics.median(cpu for _, cpu in starts)
    print(f"  of the start: {'own CPU until the first answer':<44} {cpu * 1000:>10.1f} ms")
    whole = statistics.median(took for took, _ in starts)
    _report("process start to first healthy answer", whole * 1000, "ms", target=600)


def _start(folder: Path) -> tuple[float, float]:
    """Seconds from fork to answer, and CPU seconds used by then."""
    began = time.perf_counter()
    with _processor(folder) as client:
        return time.perf_counter() - began, sum(client.process.cpu_times()[:2])


def _python(code: str) -> float:
    return _timed(lambda: subprocess.run([sys.executable, "-c", code], check=True))


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _pattern(rng: random.Random) -> Pattern:
    return [f"s{rng.randrange(VOCABULARY)}" for _ in range(rng.randint(10, 30))]


def _events(symbols: Pattern) -> list[dict[str, list[str]]]:
    return [{"strings": [symbol]} for symbol in symbols]


def _one_by_one(client: Client, rng: random.Random, patterns: int = 1_000) -> None:
    path = client.session(config={"process_predictions": False}) + "/observe-sequence"
    bodies = [
        {"observations": _events(_pattern(rng)), "learn_at_end": True} for _ in range(patterns)
    ]
    began, busy = time.perf_counter(), sum(client.process.cpu_times()[:2])
    for body in bodies:
        client.ask("POST", path, body)
    took = time.perf_counter() - began
    cpu = sum(client.process.cpu_times()[:2]) - busy
    print(f"  of learning: processor's own CPU {cpu / patterns * 1000:>30.2f} ms/pattern")
    _report("learn, one request per pattern", patterns / took, "/s", target=500, at_least=True)


def _batched(client: Client, rng: random.Random) -> None:
    length = 20
    config = {"max_pattern_length": length, "process_predictions": False}
    path = client.session(config=config) + "/observe-sequence"
    symbols = [f"s{rng.randrange(VOCABULARY)}" for _ in range(length * BATCH_PATTERNS)]
    took = _timed(lambda: client.ask("POST", path, {"observations": _events(symbols)}))
    _report("learn, one batched request", BATCH_PATTERNS / took, "/s", target=2000, at_least=True)


def _steady_load(client: Client) -> None:
    sessions = [client.session() for _ in range(LOAD_SESSIONS)]
    times, errors = asyncio.run(_open_loop(client.port, sessions))
    times.sort()
    print(f"  of the load: p50 {times[len(times) // 2] * 1000:.1f} ms, {len(times)} observations")
    _report("open loop 300 observations/s, errors", errors, "", target=0)
    _report("open loop 300 observations/s, p99", times[-len(times) // 100] * 1000, "ms", target=250)


async def _open_loop(port: int, sessions: list[str]) -> tuple[list[float], int]:
    """Each observation is sent when it is due, whether or not earlier ones were answered."""
    import aiohttp

    times: list[float] = []
    errors = 0

    async def observe(due: float, number: int) -> None:
        nonlocal errors
        path = sessions[number % len(sessions)]
        body = {"strings": [f"s{number % VOCABULARY}"]}
        with suppress(aiohttp.ClientError):
            async with http.post(f"http://127.0.0.1:{port}{path}/observe", json=body) as response:
                await response.read()
                if response.status == 200:
                    times.append(time.perf_counter() - due)
                    return
        errors += 1

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        began = time.perf_counter()
        tasks = []
        for number in range(LOAD_PER_S * LOAD_S):
            due = began + number / LOAD_PER_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(observe(due, number)))
        await asyncio.gather(*tasks)
    return times, errors


def _predictions(folder: Path, rng: random.Random) -> None:
    """At growing sizes of one node; the client's own JSON decoding is counted."""
    targets = {1_000: 8.0, 3_000: 12.0, 10_000: None, 100_000: 60.0}
    known: list[Pattern] = []
    with _processor(folder) as client:
        teacher = client.session(config={"process_predictions": False})
        for size, target in targets.items():
            _teach(client, teacher, known, rng, size - len(known))
            took = _prediction_p50(client, known, rng)
            if target:
                _report(f"prediction p50 at {size:,} patterns", took * 1000, "ms", target=target)
            else:
                resident = client.process.memory_info().rss / 2**20
                _report(f"resident memory at {size:,} patterns", resident, "MB", target=200)


def _teach(
    client: Client, session: str, known: list[Pattern], rng: random.Random, count: int
) -> None:
    """Batches of equally long patterns: auto-learning cuts each request into patterns."""
    lengths = range(10, 31)
    for number, length in enumerate(lengths):
        patterns = [
            [f"s{rng.randrange(VOCABULARY)}" for _ in range(length)]
            for _ in range(count * (number + 1) // len(lengths) - count * number // len(lengths))
        ]
        client.ask("POST", session + "/config", {"max_pattern_length": length})
        for start in range(0, len(patterns), TAUGHT_AT_ONCE):
            symbols = [symbol for p in patterns[start : start + TAUGHT_AT_ONCE] for symbol in p]
            client.ask("POST", session + "/observe-sequence", {"observations": _events(symbols)})
        known.extend(patterns)


def _prediction_p50(client: Client, known: list[Pattern], rng: random.Random) -> float:
    session = client.session()
    times = []
    for _ in range(QUERIES):
        pattern = rng.choice(known)
        first = rng.randrange(len(pattern) - QUERY_SYMBOLS + 1)
        query = pattern[first : first + QUERY_SYMBOLS]
        client.ask("POST", session + "/clear-stm")
        client.ask("POST", session + "/observe-sequence", {"observations": _events(query)})
        times.append(_timed(lambda: client.ask("GET", session + "/predictions")))
    return statistics.median(times)


if __name__ == "__main__":
    main()
