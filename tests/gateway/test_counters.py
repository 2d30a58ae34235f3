import json
import subprocess
import sys

from gateway.servers import DEADLINE_S
from kato_manager.gateway import counters
from kato_manager.gateway.access_log import AccessLog
from kato_manager.gateway.counters import BUCKETS_S, Counters, Counts


def test_all_fronts_add_up(tmp_path) -> None:
    first, second = Counters(tmp_path / "0.counters"), Counters(tmp_path / "1.counters")
    first.in_flight("a", 1)
    first.end("a", status=200, seconds=0.003, sent_bytes=10)
    second.in_flight("a", 1)
    second.end("a", status=502, seconds=99.0, sent_bytes=5)
    second.failed("a")
    second.websocket("b", 1)

    counts = counters.read(tmp_path)

    assert set(counts) == {"a", "b"}
    last_activity_s = counts["a"].last_activity_s
    assert last_activity_s > 0
    assert counts["a"] == Counts(
        requests=2,
        statuses=(0, 1, 0, 0, 1),
        upstream_errors=1,
        in_flight=2,
        last_activity_s=last_activity_s,
        sent_bytes=15,
        seconds=99.003,
        latencies=tuple(1 if n in {2, len(BUCKETS_S)} else 0 for n in range(len(BUCKETS_S) + 1)),
    )
    assert counts["b"].websockets == 1


def test_totals_outlive_a_front_and_gauges_do_not(tmp_path) -> None:
    path = tmp_path / "0.counters"
    first = Counters(path)
    first.in_flight("a", 1)
    first.end("a", status=200, seconds=0, sent_bytes=0)

    Counters(path)

    assert counters.read(tmp_path)["a"].requests == 1
    assert counters.read(tmp_path)["a"].in_flight == 0


def test_gauges_of_a_dead_front_are_not_counted(tmp_path) -> None:
    code = (
        "import sys, pathlib; from kato_manager.gateway.counters import Counters;"
        "Counters(pathlib.Path(sys.argv[1])).in_flight('a', 1)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "0.counters")]
    subprocess.run(command, check=True, timeout=DEADLINE_S)

    assert counters.read(tmp_path)["a"].in_flight == 0


def test_there_is_room_for_thousands_of_instances(tmp_path) -> None:
    one = Counters(tmp_path / "0.counters")
    ids = [f"instance-{number}-{'ü' * 40}" for number in range(1000)]

    for name in ids:
        one.end(name, status=200, seconds=0, sent_bytes=1)

    assert {
        name: counts.requests for name, counts in counters.read(tmp_path).items()
    } == dict.fromkeys(ids, 1)


def test_a_strange_file_is_begun_anew(tmp_path) -> None:
    path = tmp_path / "0.counters"
    path.write_bytes(b"something else" * 100)
    assert counters.read(tmp_path) == {}

    Counters(path).failed("a")

    assert counters.read(tmp_path)["a"].upstream_errors == 1


def entry(log: AccessLog, **values) -> None:
    log.add(
        **{
            "client": b"127.0.0.1",
            "method": b"GET",
            "target": b'/a/"\\\xff',
            "instance": "ä",
            "status": 200,
            "sent_bytes": 5,
            "seconds": 0.0125,
            "request_id": b"r-1",
            **values,
        }
    )


def test_a_log_line_is_one_json_object(tmp_path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(path)
    entry(log)
    entry(log, trouble='it said "no"')

    log.flush()

    first, second = map(json.loads, path.read_text().splitlines())
    assert first.pop("time").endswith("Z")
    assert first == {
        "client": "127.0.0.1",
        "method": "GET",
        "target": '/a/"\\ÿ',
        "instance": "ä",
        "status": 200,
        "bytes": 5,
        "ms": 12.5,
        "request_id": "r-1",
    }
    assert second["error"] == 'it said "no"'
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_log_is_rotated_by_size_and_old_files_go(tmp_path) -> None:
    path = tmp_path / "access.log"
    logs = [AccessLog(path, max_bytes=1000, kept=2) for _ in range(2)]

    for number in range(40):
        entry(logs[number % 2], status=number)
        logs[number % 2].flush()

    files = sorted(one.name for one in tmp_path.iterdir())
    assert files in (
        ["access.log", "access.log.1", "access.log.2"],
        ["access.log.1", "access.log.2"],
    )
    lines = [
        line for name in reversed(files) for line in (tmp_path / name).read_text().splitlines()
    ]
    kept = [json.loads(line)["status"] for line in lines]
    assert kept == list(range(kept[0], 40)), "no line is lost or out of order in what is kept"
