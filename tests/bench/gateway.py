"""The gateway beside the proxies of its kind: throughput, latency, large bodies, memory, routes.

    python tests/bench/gateway.py [seconds of each run] [rounds]

All have one worker, no access log and the same upstream (nginx). Runs are interleaved, medians are
printed, and only ratios of one table mean anything: the machine is shared with the load generator.
"""

import asyncio
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
import uvloop
from _proxies import HERE, Proxies, free_port, running

from kato_manager.gateway import lifecycle
from kato_manager.gateway.lifecycle import Options
from kato_manager.gateway.routes import Route, RouteTable

WEBSOCKETS = 2000
REQUESTS_PER_S = 500
BARS = {"caddy": 1.5, "chp": 3.0, "aiohttp": 1.5}
_failed: list[str] = []


def check(text: str, *, holds: bool) -> None:
    print(f"  {'ok  ' if holds else 'MISS'}  {text}")
    if not holds:
        _failed.append(text)


def wrk(port: int, connections: int, seconds: int) -> tuple[float, float]:
    """Requests per second and the median latency in ms; any error ends the benchmark."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    url = f"http://127.0.0.1:{port}/a/x"
    said = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        sys.exit(f"{url}: {said}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    p50 = re.search(r"50%\s+([\d.]+)(us|ms|s)", said)
    assert rate
    assert p50
    return float(rate[1]), float(p50[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[p50[2]]


def download(port: int) -> float:
    """Megabytes per second for a body of 100 MB."""
    command = ["curl", "-sS", "--fail", "-o", "/dev/null", "-w", "%{speed_download}"]
    url = f"http://127.0.0.1:{port}/a/big"
    said = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    return float(said) / 1e6


def medians(
    names: Iterable[str], rounds: int, measure: Callable[[str], float]
) -> dict[str, list[float]]:
    """Every name in turn, round after round."""
    names = list(names)
    results: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            results[name].append(measure(name))
    return results


def throughput(proxies: Proxies, seconds: int, rounds: int) -> None:
    print("\n32 keep-alive connections, tiny JSON")
    ports = {"(upstream)": proxies.upstream, **proxies.ports}
    wrk(proxies.ports["kato"], 32, 1)
    results = medians(ports, rounds, lambda name: wrk(ports[name], 32, seconds)[0])
    rates = {name: statistics.median(several) for name, several in results.items()}
    for name, rate in sorted(rates.items(), key=lambda item: -item[1]):
        print(f"  {name:16} {rate:9,.0f} requests/s   kato is {rates['kato'] / rate:5.2f} x")
    for name, bar in BARS.items():
        if name in rates:
            ratio = rates["kato"] / rates[name]
            check(f"{ratio:.2f} x {name} (bar {bar})", holds=ratio >= bar)


def latency(proxies: Proxies, seconds: int, rounds: int) -> None:
    print("\n1 connection, median latency")
    ports = {"(upstream)": proxies.upstream, **proxies.ports}
    results = medians(ports, rounds, lambda name: wrk(ports[name], 1, seconds)[1])
    p50 = {name: statistics.median(several) for name, several in results.items()}
    direct = p50["(upstream)"]
    for name, value in sorted(p50.items(), key=lambda item: item[1]):
        print(f"  {name:16} {value:7.3f} ms   adds {value - direct:6.3f} ms")
    added = p50["kato"] - direct
    check(f"adds {added:.3f} ms (bar 0.15)", holds=added <= 0.15)


def large_bodies(proxies: Proxies, rounds: int) -> None:
    print("\na body of 100 MB")
    results = medians(proxies.ports, rounds + 2, lambda name: download(proxies.ports[name]))
    speeds = {name: statistics.median(several) for name, several in results.items()}
    for name, speed in sorted(speeds.items(), key=lambda item: -item[1]):
        print(f"  {name:16} {speed:7,.0f} MB/s")
    if "nginx" in speeds:
        ratio = speeds["kato"] / speeds["nginx"]
        check(f"{ratio:.2f} x nginx (bar 0.5)", holds=ratio >= 0.5)


def idle_websockets(proxies: Proxies, seconds: int) -> None:
    print(f"\n{WEBSOCKETS} idle WebSockets and {REQUESTS_PER_S} requests/s for {seconds} s")
    port = free_port()
    with running(sys.executable, str(HERE / "_websockets.py"), str(port), port=port):
        settings = proxies.kato("kato-ws", Options(), {"ws": port})
        gateway = lifecycle.status(settings)
        assert gateway
        errors = uvloop.run(_hold_and_ask(settings.gateway_port, seconds))
        fronts = [
            process
            for process in psutil.Process(gateway.pid).children()
            if "kato_manager.gateway.worker" in process.cmdline()
        ]
        used = sum(process.memory_info().rss for process in fronts) / 1e6
    check(f"{errors} errors", holds=errors == 0)
    check(f"{used:.0f} MB in the front (bar 150)", holds=used <= 150)


async def _hold_and_ask(port: int, seconds: int) -> int:
    upgrade = (
        b"GET /ws/x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    held = []
    for _ in range(WEBSOCKETS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(upgrade)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        held.append(writer)
    share = REQUESTS_PER_S // 10
    errors = sum(await asyncio.gather(*(_ask(port, seconds, share) for _ in range(10))))
    errors += sum(writer.is_closing() for writer in held)
    for writer in held:
        writer.close()
    return errors


async def _ask(port: int, seconds: int, per_s: int) -> int:
    """Ask at an even pace; how often the answer was not 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    begun, errors = time.monotonic(), 0
    for number in range(seconds * per_s):
        await asyncio.sleep(max(0.0, begun + number / per_s - time.monotonic()))
        writer.write(b"GET /a/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        assert length
        await reader.readexactly(int(length[1]))
        errors += not head.startswith(b"HTTP/1.1 200")
    writer.close()
    return errors


def matching() -> None:
    print("\nthe route of a request among 5,000 instances")
    table = RouteTable(Route(id=f"instance-{n}", port=8001, prefix=b"/x") for n in range(5000))
    rounds = 20_000

    def once() -> float:
        begun = time.perf_counter()
        for _ in range(rounds):
            table.match(b"/instance-4321/predictions?x=1", b"localhost")
        return (time.perf_counter() - begun) / rounds * 1e6

    took = statistics.median(once() for _ in range(9))
    check(f"{took:.2f} us (bar 2)", holds=took <= 2)


def main() -> None:
    seconds, rounds = (int(word) for word in [*sys.argv[1:], "4", "3"][:2])
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder, Proxies(Path(folder)) as proxies:
        # A folder of root's is closed to the user that nginx becomes.
        Path(folder).chmod(0o755)
        for name, why in proxies.missing.items():
            print(f"  {name}: {why}")
        throughput(proxies, seconds, rounds)
        latency(proxies, seconds, rounds)
        large_bodies(proxies, rounds)
        idle_websockets(proxies, min(60, seconds * 15))
    matching()
    sys.exit(f"missed: {'; '.join(_failed)}" if _failed else 0)


if __name__ == "__main__":
    main()
