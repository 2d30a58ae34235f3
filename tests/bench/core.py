"""Commands, registry and start, as ratios of one run: `make bench BENCH=core`.

Each pair is measured in turns, so that both meet the same machine; medians are compared.
"""

import http.client
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from kato_manager import process, templates
from kato_manager.config.parse import parse_spec
from kato_manager.model import Instance, Status, now
from kato_manager.registry import Registry

KATO = str(Path(sys.executable).with_name("kato"))
ENVIRON = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
ROUNDS = 15
WRITERS, EDITS = 8, 250


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        record_hundred(home)
        results = [*commands(home), *edits(home), *start(home / "start")]
    print(f"{'what':54} {'measured':>10} {'bound':>10}")
    for what, measured, bound, unit in results:
        verdict = "" if bound is None else "ok" if measured <= bound else "MISSED"
        shown = "" if bound is None else f"{bound:.2f} {unit}"
        print(f"{what:54} {measured:>7.2f} {unit:2} {shown:>10} {verdict}")
    return int(any(bound is not None and measured > bound for _, measured, bound, _ in results))


def record_hundred(home: Path) -> None:
    """A hundred instances with all settings; they are seen as exited."""
    template = templates.load(home=home)
    started = process.own_identity().partition("@")[0]
    with Registry(home).edit() as instances:
        for number in range(100):
            spec = parse_spec({"id": f"i{number}", "recall_threshold": number / 100}, template)
            handle = {"kind": "local", "pid": os.getpid(), "started": f"{started}@earlier"}
            instances[spec.id] = Instance(
                spec=spec,
                port=20_001 + number,
                status=Status.RUNNING,
                runtime="local",
                handle=handle,
                created_at=now(),
                updated_at=now(),
            )


def commands(home: Path) -> list[tuple[str, float, float | None, str]]:
    """Whole processes beside `python -c "import typer"`."""
    complete = {
        "_KATO_COMPLETE": "complete_bash",
        "COMP_WORDS": "kato stop i",
        "COMP_CWORD": "2",
    }
    typer_s, list_s, completion_s = in_turns(
        lambda: run([sys.executable, "-c", "import typer"], home),
        lambda: run([KATO, "list"], home),
        lambda: run([KATO], home, **complete),
    )
    return [
        ("python -c 'import typer'", typer_s * 1000, None, "ms"),
        ("kato list, 100 instances", list_s * 1000, None, "ms"),
        ("kato list / import typer", list_s / typer_s, 2.0, "x"),
        ("completion / import typer", completion_s / typer_s, 2.0, "x"),
    ]


def in_turns(*work: Callable[[], float], rounds: int = ROUNDS) -> list[float]:
    """The median of the seconds that each says it took."""
    taken: list[list[float]] = [[one() for one in work] for _ in range(rounds + 1)]
    return [statistics.median(times) for times in zip(*taken[1:], strict=True)]  # after a warm-up


def run(command: list[str], home: Path, **environ: str) -> float:
    """Run a command to its end; the seconds it took."""
    begun = time.perf_counter()
    subprocess.run(
        command,
        env={**ENVIRON, "KATO_HOME": str(home), **environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - begun


def edits(home: Path) -> list[tuple[str, float, float | None, str]]:
    """Edits of 100 entries, with fsync: alone, and of 8 processes beside a spinning reader."""
    alone = statistics.median(edited(home, "i0", EDITS))
    fork = multiprocessing.get_context("fork")
    over = fork.Event()
    reader = fork.Process(target=spin, args=(home, over))
    reader.start()
    begun = time.perf_counter()
    with fork.Pool(WRITERS) as pool:
        work = [(home, f"i{number}", EDITS) for number in range(WRITERS)]
        pool.starmap(edited, work, chunksize=1)
    each_s = (time.perf_counter() - begun) / (WRITERS * EDITS)
    over.set()
    reader.join()
    kept = Registry(home).read()
    lost = sum(kept[f"i{number}"].reason != f"edit {EDITS - 1}" for number in range(WRITERS))
    return [
        ("edit p50, 100 entries, alone", alone * 1000, 5.0, "ms"),
        (f"edit, {WRITERS} processes x {EDITS}, one after another", each_s * 1000, 5.0, "ms"),
        ("edits lost, readers that failed", lost + (reader.exitcode or 0), 0.0, ""),
    ]


def edited(home: Path, instance_id: str, count: int) -> list[float]:
    registry, taken = Registry(home, lock_timeout_s=100), []
    for number in range(count):
        begun = time.perf_counter()
        with registry.edit() as instances:
            instances[instance_id] = replace(instances[instance_id], reason=f"edit {number}")
        taken.append(time.perf_counter() - begun)
    return taken


def spin(home: Path, over: Any) -> None:
    registry = Registry(home)
    while not over.is_set():
        instances = registry.read()
        assert len(instances) == 100
        assert instances.notes == []


def start(home: Path) -> list[tuple[str, float, float | None, str]]:
    """`kato start` until it returns, beside the bare processor until its first healthy answer."""
    typer_s, bare_s, kato_s = in_turns(
        lambda: run([sys.executable, "-c", "import typer"], home),
        lambda: bare_start(home),
        lambda: kato_start(home),
        rounds=5,
    )
    bound_s = bare_s + 4 * typer_s
    return [
        ("bare processor, to its first healthy answer", bare_s * 1000, None, "ms"),
        ("kato start --no-gateway, to ready", kato_s * 1000, bound_s * 1000, "ms"),
        ("kato start / (bare + 4 x import typer)", kato_s / bound_s, 1.0, "x"),
    ]


def bare_start(home: Path) -> float:
    port = free_port()
    command = [sys.executable, "-m", "kato_processor", "--port", str(port)]
    environ = {**ENVIRON, "KATO_DATA_DIR": str(home / "bare")}
    begun = time.perf_counter()
    with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as processor:
        while not is_healthy(port):
            time.sleep(0.005)
        taken_s = time.perf_counter() - begun
        processor.terminate()
    return taken_s


def kato_start(home: Path) -> float:
    options = ("--no-gateway", "--runtime", "local", "--port", str(free_port()))
    taken_s = run([KATO, "start", "--id", "a", *options], home)
    run([KATO, "stop", "a"], home)
    return taken_s


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
