"""Twenty containers by one `kato apply`, beside the bare docker SDK and twenty `kato start`.

Needs the engine that tests/engine/up starts. Rounds take turns; medians are compared.
"""

import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from contained import Contained
from engines import echo_image, engine
from homes import Home, get, new_home, wait_until
from kato_manager.runtimes.engine import NETWORK

COUNT, ROUNDS, BOUND = 20, 3, 1.2


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, new_home(Path(folder)) as home:
        contained = Contained(home)
        try:
            works = [
                lambda: by_apply(contained),
                lambda: by_sdk(home),
                lambda: by_starts(contained),
            ]
            rounds = [[work() for work in works] for _ in range(ROUNDS)]
        finally:
            contained.close()
    apply_s, sdk_s, starts_s = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = apply_s / sdk_s
    print(f"{COUNT} instances by one kato apply        {apply_s:6.2f} s")
    print(f"the same by the bare SDK, in parallel  {sdk_s:6.2f} s")
    verdict = "ok" if ratio <= BOUND else "MISSED"
    print(f"apply / SDK                            {ratio:6.2f} x  (bound {BOUND} x) {verdict}")
    print(f"{COUNT} separate kato start processes      {starts_s:6.2f} s")
    return int(ratio > BOUND)


def by_apply(contained: Contained) -> float:
    instances = [{"id": contained.id(f"n{n}"), "template": "contained"} for n in range(COUNT)]
    file = contained.home.path / "twenty.yaml"
    file.write_text(json.dumps({"instances": instances}))
    begun = time.perf_counter()
    done = contained.home.kato(
        "apply", "-f", str(file), "--parallel", str(COUNT), "--no-gateway", "-y"
    )
    taken_s = time.perf_counter() - begun
    assert done.code == 0, done.err
    stop_all(contained.home)
    return taken_s


def by_starts(contained: Contained) -> float:
    words = ("--template", "contained", "--no-gateway")
    begun = time.perf_counter()
    commands = [
        contained.home.spawn("start", "--id", contained.id(f"s{n}"), *words) for n in range(COUNT)
    ]
    for command in commands:
        _, err = command.communicate()
        assert command.returncode == 0, err
    taken_s = time.perf_counter() - begun
    stop_all(contained.home)
    return taken_s


def by_sdk(home: Home) -> float:
    """The same containers (network, volume, port) created, started and polled by a script."""
    api = engine("docker").api
    image = echo_image("docker")
    made: list[str] = []
    volumes: list[str] = []

    def start(number: int) -> None:
        port = home.ports[number]
        volume = api.create_volume(f"bench-{port}")["Name"]
        volumes.append(volume)
        host = api.create_host_config(
            port_bindings={8000: ("127.0.0.1", port)},
            binds=[f"{volume}:/data"],
            network_mode=NETWORK,
        )
        words = ["--id", f"n{number}", "--host", "0.0.0.0", "--port", "8000"]
        created = api.create_container(image, words, ports=[8000], host_config=host)
        made.append(created["Id"])
        api.start(created["Id"])
        wait_until(lambda: answers(port))

    begun = time.perf_counter()
    with ThreadPoolExecutor(COUNT) as pool:
        list(pool.map(start, range(COUNT)))
    taken_s = time.perf_counter() - begun
    for one in made:
        api.remove_container(one, force=True)
    for volume in volumes:
        api.remove_volume(volume)
    return taken_s


def answers(port: int) -> bool:
    try:
        return bool(get(port, "/health"))
    except OSError:
        return False


def stop_all(home: Home) -> None:
    stopped = home.kato("stop", "--all", "--grace", "0")
    assert stopped.code == 0, stopped.err


if __name__ == "__main__":
    sys.exit(main())
