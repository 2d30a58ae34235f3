"""`kato apply` and its relatives, with real processes."""

import json
import os
import pty
import signal
import subprocess
from pathlib import Path
from urllib.request import urlopen

import pytest

from homes import KATO, Home, get, wait_until

SHARED = "shared: {template: echo, grace: 3s}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "multi.yaml"


def write(file: Path, entries: str) -> str:
    file.write_text(f"{SHARED}instances: [{entries}]\n", encoding="utf-8")
    return str(file)


def apply(home: Home, file: Path, *words: str, **given):
    return home.kato("apply", "-f", str(file), "--no-gateway", *words, **given)


def pids(home: Home) -> dict[str, int]:
    """The process of each instance: another one is another pid."""
    entries = home.document["instances"]
    return {name: get(entry["api_port"])["pid"] for name, entry in entries.items()}


def test_a_file_is_made_so_and_then_there_is_nothing_to_do(home, file):
    write(file, "{id: a}, {id: b, recall_threshold: 0.3, depends_on: [a]}")

    pending = home.kato("plan", "-f", str(file), "--detailed-exitcode")
    first = apply(home, file)
    before = pids(home)
    second = apply(home, file)
    nothing = home.kato("plan", "-f", str(file), "--detailed-exitcode")

    assert (pending.code, pending.out) == (
        10,
        "start    a              not recorded\nstart    b              not recorded\n",
    )
    assert (first.code, [line.split()[:2] for line in first.out.splitlines()]) == (
        0,
        [["started", "a"], ["started", "b"]],
    )
    assert get(home.document["instances"]["b"]["api_port"])["settings"] == {
        "ECHO_MAX_PREDICTIONS": "100",
        "ECHO_RECALL_THRESHOLD": "0.3",
    }
    assert (second.code, second.out, second.err) == (0, "", "2 unchanged\n")
    assert pids(home) == before
    assert (nothing.code, nothing.out.split()[0]) == (0, "keep")


def test_one_changed_setting_among_twenty_touches_one_instance(home, file):
    write(file, ", ".join(f"{{id: i{n}}}" for n in range(20)))
    assert apply(home, file, "--parallel", "8").code == 0
    before = pids(home)
    write(
        file, ", ".join(f"{{id: i{n}, max_predictions: {9 if n == 7 else 100}}}" for n in range(20))
    )

    plan = home.kato("plan", "-f", str(file))
    done = apply(home, file)

    assert "replace  i7             max_predictions 100 -> 9\n" in plan.out
    assert [line.split()[:2] for line in done.out.splitlines()] == [["replaced", "i7"]]
    assert done.err == "19 unchanged\n"
    assert {name for name, pid in pids(home).items() if before[name] != pid} == {"i7"}


def test_an_instance_keeps_serving_until_its_replacement_is_ready(home, file):
    write(file, "{id: a}")
    apply(home, file)
    before = home.document["instances"]["a"]
    write(file, "{id: a, max_predictions: 5, env: {ECHO: deaf}, ready_timeout: 1s}")

    failed = apply(home, file)

    assert failed.code == 8
    assert "a: failed: " in failed.err
    assert home.document["instances"]["a"]["api_port"] == before["api_port"]
    assert get(before["api_port"])["settings"]["ECHO_MAX_PREDICTIONS"] == "100"


def test_a_failure_stops_dependants_only_and_the_same_command_continues(home, file):
    broken = "{id: db, env: {ECHO: die}}, {id: web, depends_on: [db]}, {id: other}"
    write(file, broken)

    partly = apply(home, file)
    write(file, broken.replace("die", ""))
    whole = apply(home, file)

    assert partly.code == 8
    lines = sorted(line.split()[:2] for line in partly.out.splitlines())
    assert lines == [["failed", "db"], ["skipped", "web"], ["started", "other"]]
    assert "2 steps not done" in partly.err
    assert "web: skipped: db did not come up" in partly.err
    assert "the same command continues" in partly.err
    assert whole.code == 0
    assert [line.split()[:2] for line in whole.out.splitlines()] == [
        ["started", "db"],
        ["started", "web"],
    ]


def test_nothing_is_started_when_the_file_has_a_mistake(home, file):
    write(file, "{id: a}, {id: b, recal_threshold: 3}")

    done = apply(home, file)

    assert done.code == 2
    assert f"{file}:2:30: instances[1].recal_threshold: unknown setting, did you mean" in done.err
    assert home.is_clean()


def test_prune_stops_what_the_file_made_and_no_longer_names(home, file):
    write(file, "{id: a}, {id: b}")
    apply(home, file)
    home.start("--id", "by-hand")
    write(file, "{id: a}")

    told = home.kato("plan", "-f", str(file))
    pruned = apply(home, file, "--prune", "-y")

    assert told.out == "keep     a              unchanged\n"
    assert told.err == "no longer named, --prune would stop: b\n"
    assert [line.split()[:2] for line in pruned.out.splitlines()] == [["stopped", "b"]]
    assert sorted(home.ids()) == ["a", "by-hand"]


def test_down_is_the_reverse_and_leaves_the_rest(home, file):
    write(file, "{id: a}, {id: b, depends_on: [a]}")
    apply(home, file)
    home.start("--id", "by-hand")

    done = home.kato("down", "-f", str(file), "-y")

    assert [line.split()[:2] for line in done.out.splitlines()] == [
        ["stopped", "b"],
        ["stopped", "a"],
    ]
    assert home.ids() == ["by-hand"]


def test_what_died_is_started_again_with_its_own_port(home, file):
    write(file, "{id: a}, {id: b}")
    apply(home, file)
    port, pid = home.document["instances"]["a"]["api_port"], pids(home)["a"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: "exited" in home.kato("list").out)

    done = apply(home, file)

    assert [line.split()[:2] for line in done.out.splitlines()] == [["started", "a"]]
    assert home.document["instances"]["a"]["api_port"] == port


def test_a_saved_plan_is_carried_out_as_it_was_shown(home, file, tmp_path):
    write(file, "{id: a}")
    saved = str(tmp_path / "p.json")
    home.kato("plan", "-f", str(file), "-o", saved)
    write(file, "{id: other}")

    done = home.kato("apply", saved, "--no-gateway")

    assert (done.code, home.ids()) == (0, ["a"])
    assert (tmp_path / "p.json").stat().st_mode & 0o777 == 0o600


def test_a_saved_plan_is_refused_when_the_world_has_changed(home, file, tmp_path):
    write(file, "{id: a}")
    saved = str(tmp_path / "p.json")
    home.kato("plan", "-f", str(file), "-o", saved)
    home.start("--id", "a", "--recall-threshold", "0.9")

    done = home.kato("apply", saved, "--no-gateway")

    assert done.code == 4
    assert f"{saved}: what the plan was made from has changed since" in done.err


def test_a_saved_plan_stands_alone_and_must_be_there(home, file, tmp_path):
    plan = str(tmp_path / "plan.json")
    write(file, "{id: a}")
    home.kato("plan", "-f", str(file), "-o", plan)

    both = home.kato("apply", plan, "-f", str(file))
    none = home.kato("apply", f"{plan}.gone")

    assert (both.code, none.code, home.ids()) == (2, 2, [])
    assert both.err.startswith("error: a saved plan is carried out as it is")
    assert none.err == f"error: {plan}.gone: cannot be read: no such file or directory\n"


def test_diff_shows_each_value_and_exits_10(home, file):
    write(file, "{id: a}")
    apply(home, file)
    write(file, "{id: a, recall_threshold: 0.5, name: New}, {id: b}")

    done = home.kato("diff", "-f", str(file))

    assert done.code == 10
    assert "~ a  name KatoProcessor -> New, recall_threshold 0.1 -> 0.5\n" in done.out
    assert "    recall_threshold 0.1 -> 0.5\n" in done.out
    assert "+ b  not recorded\n" in done.out


def test_what_needs_no_restart_is_only_recorded(home, file):
    write(file, "{id: a}")
    apply(home, file)
    before = pids(home)
    write(file, "{id: a, group: g, labels: {x: y}}")

    done = apply(home, file)

    assert done.out.split()[:2] == ["updated", "a"]
    assert pids(home) == before
    assert home.kato("list", "--group", "g", "-q").out == "a\n"


def test_json_says_what_was_done(home, file):
    write(file, "{id: a}, {id: b, env: {ECHO: die}}")

    done = apply(home, file, "--format", "json")

    assert done.code == 8
    steps = {one["id"]: one for one in done.json["steps"]}
    assert (steps["a"]["result"], steps["b"]["result"]) == ("done", "failed")
    assert steps["a"]["url"] == f"http://127.0.0.1:{home.document['instances']['a']['api_port']}"


def test_a_dry_run_changes_nothing(home, file):
    write(file, "{id: a}")

    done = apply(home, file, "--dry-run")

    assert done.out == "start    a              not recorded\n"
    assert home.is_clean()


def test_profiles_and_standard_input(home, file):
    text = SHARED + "instances: [{id: a}, {id: b, profiles: [dev]}]"

    done = home.kato("plan", "-f", "-", "--profile", "dev", stdin=text)
    refused = home.kato("plan", "-f", "-", "--prune", stdin=text)

    assert [line.split()[1] for line in done.out.splitlines()] == ["a", "b"]
    assert refused.code == 2
    assert "--prune needs a file" in refused.err


def test_on_a_terminal_it_asks_before_it_stops_anything(home, file):
    write(file, "{id: a}")
    apply(home, file)

    code, shown = on_a_terminal(home, ["down", "-f", str(file)], answer="n\n")

    assert "Stop or replace a?" in shown
    assert code != 0
    assert home.ids() == ["a"]


def test_the_first_ctrl_c_finishes_what_runs_and_skips_the_rest(home, file):
    write(file, "{id: slow, env: {ECHO: ill}, ready_timeout: 2s}, {id: later, depends_on: [slow]}")
    command = home.spawn("apply", "-f", str(file), "--no-gateway")
    wait_until(lambda: home.registry.exists() and home.processes())

    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=30)

    assert command.returncode == 8
    assert "finishing what runs (slow); Ctrl-C again ends at once" in err
    assert [line.split()[0] for line in out.splitlines()] == ["skipped", "failed"]


def test_the_second_ctrl_c_ends_at_once_and_the_next_command_settles(home, file):
    write(file, "{id: slow, env: {ECHO: ill}, ready_timeout: 60s}")
    command = home.spawn("apply", "-f", str(file), "--no-gateway")
    wait_until(lambda: home.registry.exists() and home.processes())

    command.send_signal(signal.SIGINT)
    wait_until(lambda: "finishing" in command.stderr.readline())
    command.send_signal(signal.SIGINT)
    command.communicate(timeout=30)
    write(file, "{id: slow}")
    again = apply(home, file)

    assert command.returncode == 130
    assert again.code == 0
    assert home.ids() == ["slow"]
    assert len(home.processes()) == 1


def test_what_starts_on_demand_is_declared_once_and_then_left_to_the_gateway(home, file):
    write(file, "{id: a, start: on-demand}")

    first = apply(home, file)
    second = apply(home, file)

    assert (first.code, first.out.split()[:2]) == (0, ["declared", "a"])
    assert (second.out, second.err) == ("", "1 unchanged\n")
    assert home.document["instances"]["a"]["status"] == "stopped"
    assert home.processes() == []


def test_any_http_server_is_an_instance(home):
    example = Path(__file__).parents[2] / "examples" / "web.yaml"

    done = home.kato("apply", "-f", str(example), "--no-gateway")

    port = home.document["instances"]["files"]["api_port"]
    with urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        assert "Directory listing" in answer.read().decode()
    assert (done.code, home.ids()) == (0, ["files"])


def on_a_terminal(home: Home, words: list[str], *, answer: str) -> tuple[int, str]:
    """Run a command whose streams are a terminal; what it showed."""
    master, slave = pty.openpty()
    command = subprocess.Popen(
        [KATO, *words], env=home.environ, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    os.write(master, answer.encode())
    shown = b""
    try:
        while part := os.read(master, 65536):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(master)
    return command.wait(30), shown.decode()


def test_the_json_of_a_plan_is_what_is_saved(home, file, tmp_path):
    write(file, "{id: a}")
    saved = tmp_path / "p.json"

    shown = home.kato("plan", "-f", str(file), "-o", str(saved), "--format", "json")

    assert json.loads(saved.read_text()) == shown.json
    assert shown.json["changes"] == 1
