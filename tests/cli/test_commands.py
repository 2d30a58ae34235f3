"""The command as users type it: codes, texts and shapes."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from homes import KATO, Home, get, stranger, wait_until
from kato_manager.registry import Registry


@pytest.fixture
def two(home: Home) -> Home:
    """A home where `version-a` and `version-b` run, as in the guide."""
    for one, name in (("version-a", "Version A"), ("version-b", "Version B")):
        assert home.start("--id", one, "--name", name).code == 0
    return home


def lines(text: str) -> list[str]:
    return text.splitlines()


def test_start_prints_one_line_of_data(home: Home) -> None:
    done = home.start("--id", "version-a", "--recall-threshold", "0.3")

    gateway, port = home.gateway_port, home.ports[0]
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        f"version-a  running  http://localhost:{gateway}/version-a/  http://127.0.0.1:{port}\n"
    )


def test_start_as_json_has_the_documented_keys(home: Home) -> None:
    done = home.start("--id", "a", "--name", "Ä", "--set", "max_predictions=7", "--format", "json")

    answer = done.json
    updated = answer["instance"].pop("updated")
    assert updated == home.document["instances"]["a"]["updated"]
    assert answer == {
        "version": 1,
        "instance": {
            "id": "a",
            "name": "Ä",
            "container": "kato-a",
            "api_port": home.ports[0],
            "status": "running",
            "url": f"http://127.0.0.1:{home.ports[0]}",
            "gateway_url": f"http://localhost:{home.gateway_port}/a",
            "runtime": "local",
            "template": "echo",
            "group": "",
            "labels": {},
            "settings": {"recall_threshold": 0.1, "max_predictions": 7},
            "reason": "",
        },
    }


def test_list_prints_a_table_and_json_the_same(two: Home) -> None:
    table = two.kato("list")
    listed = two.kato("ls", "--format", "json").json

    first, second, gateway = *two.ports[:2], two.gateway_port
    assert lines(table.out) == [
        "ID         NAME       STATUS   PORT   RUNTIME  URL",
        f"version-a  Version A  running  {first}  local    http://localhost:{gateway}/version-a/",
        f"version-b  Version B  running  {second}  local    http://localhost:{gateway}/version-b/",
    ]
    assert listed["version"] == 1
    assert [(one["id"], one["name"], one["status"]) for one in listed["instances"]] == [
        ("version-a", "Version A", "running"),
        ("version-b", "Version B", "running"),
    ]
    assert two.kato("ps", "-q").out == "version-a\nversion-b\n"
    assert two.kato("list", "-q", "*-b").out == "version-b\n"


def test_list_of_nothing_says_how_to_begin_and_writes_nothing(home: Home) -> None:
    done = home.kato("list")

    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("no instances; ")
    assert home.kato("list", "--format", "json").json == {"version": 1, "instances": []}
    assert [path.name for path in home.path.iterdir()] == ["templates"]


def test_a_guide_s_registry_is_listed_and_can_be_stopped(home: Home) -> None:
    entry = {
        "name": "My Processor",
        "container": "kato-processor-1",
        "api_port": home.ports[5],
        "status": "running",
        "updated": "2024-01-01T12:00:00",
    }
    home.registry.write_text(json.dumps({"instances": {"processor-1": entry}}))

    (listed,) = home.kato("list", "--format", "json").json["instances"]

    assert {key: listed[key] for key in ("name", "container", "api_port")} == {
        key: entry[key] for key in ("name", "container", "api_port")
    }
    assert listed["status"] == "unreachable"


def test_starting_what_runs_is_success_and_other_settings_are_a_conflict(two: Home) -> None:
    pids = two.processes()

    assert two.start("--id", "version-a").code == 0
    other = two.start("--id", "version-a", "--recall-threshold", "0.9")

    assert other.code == 4
    assert other.err == (
        "error: instance 'version-a' runs with other settings: recall_threshold 0.1 -> 0.9\n"
        "hint: kato restart version-a with the same options changes them\n"
    )
    assert two.processes() == pids


def test_restart_keeps_or_changes_what_is_recorded(two: Home) -> None:
    assert two.kato("restart", "version-a", "--recall-threshold", "0.9").code == 0
    assert get(two.ports[0])["settings"]["ECHO_RECALL_THRESHOLD"] == "0.9"
    before = get(two.ports[0])["pid"]

    assert two.kato("restart", "Version A").code == 0

    assert get(two.ports[0])["settings"]["ECHO_RECALL_THRESHOLD"] == "0.9"
    assert get(two.ports[0])["pid"] != before


def test_a_start_without_id_makes_one_of_time_and_pid(home: Home) -> None:
    first, second = home.start("-e", "A=1"), home.start()

    ids = [done.out.split()[0] for done in (first, second)]
    assert home.ids() == ids
    assert [one.split("-")[0] for one in ids] == ["kato", "kato"]
    assert all(part.isdigit() for one in ids for part in one.split("-")[1:])


def test_a_busy_port_moves_and_a_strict_one_is_refused(home: Home) -> None:
    busy = home.ports[3]
    with stranger(busy):
        moved = home.start("--id", "a", "--port", str(busy))
        refused = home.start("--id", "b", "--port", str(busy), "--strict-port")

    assert (moved.code, refused.code) == (0, 4)
    assert moved.out.split()[-1] == f"http://127.0.0.1:{busy + 1}"
    assert f"(pid {os.getpid()}); using {busy + 1}\n" in moved.err
    assert refused.err.startswith(f"error: port {busy} is used by ")
    assert home.ids() == ["a"]


MISTAKES = {
    "an unknown option": (["start", "--id", "a", "--recal-threshold", "1"], "--recall-threshold"),
    "an unknown setting": (
        ["start", "--id", "a", "--set", "recal_threshold=1"],
        "recall_threshold",
    ),
    "a value out of range": (["start", "--id", "a", "--recall-threshold", "7"], "recall_threshold"),
    "no number": (["start", "--id", "a", "--max-predictions", "many"], "max_predictions"),
    "no port": (["start", "--id", "a", "--port", "70000"], "70000"),
    "a reserved id": (["start", "--id", "api"], "reserved"),
    "no pair": (["start", "--id", "a", "--env", "WORD"], "'WORD' has no '='"),
    "no env file": (["start", "--id", "a", "--env-file", "gone.env"], "gone.env: no such file"),
    "an unknown template": (["start", "--id", "a", "--template", "katoo"], '"kato"'),
    "an unknown runtime": (["start", "--id", "a", "--runtime", "moon"], "moon"),
    "an unknown command": (["strat"], "strat"),
    "an unknown format": (["list", "--format", "xml"], "xml"),
    "a negative time-out": (["stop", "a", "--grace", "-1"], "-1"),
}


@pytest.mark.parametrize(("words", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_and_changes_nothing(home: Home, words: list[str], said: str) -> None:
    words = [*words, "--no-gateway"] if words[0] == "start" else words
    done = home.kato(*words)

    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "Traceback" not in done.err
    assert not home.registry.exists() or home.document["instances"] == {}


@pytest.mark.parametrize("verb", ["stop", "restart", "status", "inspect", "logs", "list"])
def test_an_unknown_instance_is_code_3_and_offers_the_closest(two: Home, verb: str) -> None:
    done = two.kato(verb, "version-c")

    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("error: there is no instance 'version-c'\nhint: did you mean ")


def test_an_ambiguous_name_is_code_4_and_an_id_beats_a_name(home: Home) -> None:
    for one in ("a", "b"):
        home.start("--id", one, "--name", "Twin")
    home.start("--id", "c", "--name", "a")

    done = home.kato("stop", "Twin")
    assert (done.code, done.err) == (
        4,
        "error: name 'Twin' means a, b\nhint: say which by its id\n",
    )
    assert home.kato("stop", "a").out == "a  stopped\n"
    assert home.ids() == ["b", "c"]


def test_stop_takes_ids_names_and_globs(home: Home) -> None:
    for one in ("a1", "a2", "b", "c"):
        home.start("--id", one, "--name", f"Name {one}")

    assert lines(home.kato("stop", "a*", "Name b").out) == [
        "a1  stopped",
        "a2  stopped",
        "b  stopped",
    ]
    assert home.ids() == ["c"]
    assert home.kato("stop", "c", "--format", "json").json["stopped"] == ["c"]
    assert home.is_clean()


def test_stop_of_a_dead_instance_is_success(home: Home) -> None:
    home.start("--id", "a")
    os.kill(home.processes()[0], signal.SIGKILL)
    wait_until(lambda: not home.processes())

    assert home.kato("stop", "a").code == 0
    assert home.is_clean()


def test_bare_stop_asks_on_a_terminal_and_needs_all_without_one(two: Home) -> None:
    refused = two.kato("stop")
    assert refused.code == 2
    assert refused.err == (
        "error: stop without a name means all\nhint: kato stop --all, or name some\n"
    )
    assert on_terminal(two, "stop", answer="\n") == 1
    assert two.ids() == ["version-a", "version-b"]

    assert on_terminal(two, "stop", "--no-services", answer="y\n") == 0
    assert two.is_clean()


def test_stop_all_needs_no_answer(two: Home) -> None:
    assert two.kato("stop", "--all", "--no-mongo").code == 0
    assert two.is_clean()


def test_purge_asks_before_it_deletes(home: Home) -> None:
    home.start("--id", "a")
    data = home.path / "instances" / "kato-a"

    assert home.kato("stop", "a", "--purge").code == 2
    assert on_terminal(home, "stop", "a", "--purge", answer="n\n") == 1
    assert (data.exists(), home.ids()) == (True, ["a"])
    assert home.kato("stop", "a", "--purge", "-y").code == 0
    assert not data.exists()


def on_terminal(home: Home, *words: str, answer: str) -> int:
    """Run a command whose three streams are a terminal where somebody types the answer."""
    pid, terminal = pty.fork()
    if not pid:
        os.execve(KATO, ["kato", *words], home.environ)  # noqa: S606
    shown = b""
    try:
        while b"[y/N]" not in shown:
            shown += os.read(terminal, 1000)
        os.write(terminal, answer.encode())
        while True:
            shown += os.read(terminal, 1000)
    except OSError:  # how a terminal says that its last user has gone
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(terminal)


def test_status_asks_and_its_code_tells(two: Home) -> None:
    assert two.kato("status").code == 0
    os.kill(get(two.ports[0])["pid"], signal.SIGKILL)
    wait_until(lambda: len(two.processes()) == 1)

    done = two.kato("status", "--format", "json")
    assert done.code == 3
    assert [one["status"] for one in done.json["instances"]] == ["exited", "running"]


def test_inspect_shows_everything_as_json(home: Home) -> None:
    home.start("--id", "a", "--recall-threshold", "0.3", "--env", "ECHO_X=ü")

    answer = home.kato("inspect", "a").json

    assert answer["instance"]["spec"]["env"] == {"ECHO_X": "ü"}
    assert answer["instance"]["settings"]["recall_threshold"] == 0.3
    assert answer["instance"]["handle"]["pid"] == home.processes()[0]


def test_variables_of_files_lie_below_those_of_flags(home: Home, tmp_path: Path) -> None:
    (tmp_path / "own.env").write_text("A=file\nB='of the file'\n")

    home.start("--id", "a", "--env-file", str(tmp_path / "own.env"), "-e", "A=flag")

    spec = home.kato("inspect", "a").json["instance"]["spec"]
    assert spec["env"] == {"A": "flag", "B": "of the file"}


def test_logs_print_what_it_printed(home: Home) -> None:
    home.start("--id", "a")

    assert home.kato("logs", "a").out == "echo a starts\n"
    home.kato("restart", "a")
    assert home.kato("logs", "a", "-n", "1").out == "echo a starts\n"
    assert home.kato("logs", "a").out == "echo a starts\n" * 2


def test_following_logs_end_with_the_instance(home: Home) -> None:
    home.start("--id", "a", env={"ECHO": "chatty"})
    follower = home.spawn("logs", "a", "-f")
    assert follower.stdout.readline() == "echo a starts\n"

    home.kato("stop", "a")

    rest, err = follower.stdout.read(), follower.stderr.read()
    assert (follower.wait(timeout=20), err) == (0, "")
    assert lines(rest)[:2] == ["line 0", "line 1"]


def test_no_wait_returns_while_it_starts(home: Home) -> None:
    done = home.start("--id", "a", "--no-wait", env={"ECHO": "ill"})

    assert done.code == 0
    assert home.ids() == ["a"]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupted_start_leaves_no_reservation(home: Home, sign: signal.Signals) -> None:
    words = ("start", "--id", "a", "--template", "echo", "--no-gateway")
    command = home.spawn(*words, env={"ECHO": "ill"})
    wait_until(lambda: (one := Registry(home.path).read().get("a")) and one.handle, "launched")

    command.send_signal(sign)
    out, err = command.communicate(timeout=30)

    assert command.returncode == (130 if sign == signal.SIGINT else 143)
    assert (out, err) == ("", "interrupted\n" if sign == signal.SIGINT else "")
    assert home.is_clean()


def test_no_traceback_when_the_reader_of_list_has_gone(two: Home) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = subprocess.Popen(
        [KATO, "list"], env=two.environ, stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)

    _, err = command.communicate(timeout=30)

    assert (command.returncode, err) == (0, "")


STREAMS = {
    "closed": (">&-", "", 0, ""),
    "on a full disk": ("> /dev/full", "", 1, "error: standard output: No space left on device\n"),
    "of few characters": ("", "ascii", 0, ""),
}


@pytest.mark.parametrize(("where", "encoding", "code", "said"), STREAMS.values(), ids=STREAMS)
def test_a_standard_output_of_any_kind_is_no_traceback(
    home: Home, where: str, encoding: str, code: int, said: str
) -> None:
    assert home.start("--id", "ä").code == 0

    done = subprocess.run(
        ["sh", "-c", f"exec {KATO} list {where}"],
        env={**home.environ, **({"PYTHONIOENCODING": encoding} if encoding else {})},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (code, said)
    assert ("\\xe4" in done.stdout) == bool(encoding)


INTERRUPTED_WHILE_LOADING = """
import sys

class CtrlC:
    def find_spec(self, name, *_):
        if name == "kato_manager.cli.main":
            raise KeyboardInterrupt

sys.meta_path.insert(0, CtrlC())
from kato_manager.__main__ import main
main()
"""


def test_ctrl_c_before_anything_is_loaded_is_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_WHILE_LOADING], capture_output=True, check=False
    )

    assert (done.returncode, done.stderr) == (130, b"interrupted\n")


def test_what_a_path_cannot_hold_is_escaped_in_the_gateway_s_address(home: Home) -> None:
    done = home.start("--id", "a b?é")

    address = f"http://localhost:{home.gateway_port}/a%20b%3F%C3%A9"
    assert f"  {address}/  " in done.out
    assert home.kato("list").out.rstrip().endswith(f" {address}/")
    assert home.kato("inspect", "a b?é").json["instance"]["gateway_url"] == address


def test_list_shows_the_gateway_s_port_of_the_user_s_config(home: Home) -> None:
    home.start("--id", "a")
    (home.path / "config.yaml").write_text("gateway_port: 8123\n")
    del home.environ["KATO_GATEWAY_PORT"]

    assert home.kato("list").out.rstrip().endswith(" http://localhost:8123/a/")


def test_wide_characters_do_not_shift_the_columns(home: Home) -> None:
    home.start("--id", "a", "--name", "日本")
    home.start("--id", "b", "--name", "e\u0301-é")

    assert [line[: line.index("running")] for line in lines(home.kato("list").out)[1:]] == [
        "a   日本  ",
        "b   e\u0301-é   ",
    ]


def test_a_dry_run_and_nothing_to_do_are_told(home: Home) -> None:
    made = home.start("--id", "a", "--dry-run", "--format", "json").json
    assert [(step["action"], step["id"]) for step in made["steps"]] == [("start", "a")]
    assert home.kato("stop", "--all").err == "nothing to stop\n"
    home.start("--id", "a")
    stopped = home.kato("stop", "a", "--dry-run", "--format", "json").json
    assert stopped == {"version": 1, "would_be_stopped": ["a"]}
    assert home.ids() == ["a"]


def test_colour_is_for_terminals_without_no_color(two: Home) -> None:
    coloured = {key: value for key, value in two.environ.items() if key != "NO_COLOR"}
    for environ, expected in ((coloured, True), (two.environ, False)):
        terminal, inside = pty.openpty()
        done = subprocess.run([KATO, "list"], env=environ, stdout=inside, check=False)
        os.close(inside)
        shown = b""
        try:
            while piece := os.read(terminal, 10_000):
                shown += piece
        except OSError:  # the end of a terminal
            pass
        os.close(terminal)

        assert done.returncode == 0
        assert (b"\x1b[" in shown) == expected
        assert b"running" in shown
    assert "\x1b" not in two.kato("list", env={"NO_COLOR": ""}).out


COMPLETIONS = {
    "bash": (
        {"_KATO_COMPLETE": "complete_bash", "COMP_WORDS": "kato stop v", "COMP_CWORD": "2"},
        ["version-a", "version-b"],
    ),
    "zsh": (
        {"_KATO_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "kato stop v"},
        ["version-a", "version-b"],
    ),
    "fish": (
        {
            "_KATO_COMPLETE": "complete_fish",
            "_TYPER_COMPLETE_ARGS": "kato stop v",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        },
        ["version-a", "version-b"],
    ),
}


@pytest.mark.parametrize(("environ", "ids"), COMPLETIONS.values(), ids=COMPLETIONS)
def test_shells_complete_ids(two: Home, environ: dict[str, str], ids: list[str]) -> None:
    done = two.kato(env=environ)

    assert [one for one in ids if one not in done.out] == []
    assert done.err == ""


def test_a_broken_registry_does_not_break_the_line_that_is_completed(home: Home) -> None:
    home.registry.write_text("{")

    done = home.kato(env=COMPLETIONS["bash"][0])

    assert (done.out.strip(), done.err) == ("", "")


def test_the_version_is_printed_in_both_forms(home: Home) -> None:
    from importlib.metadata import version

    printed = f"kato-manager {version('kato-manager')}\n"
    assert home.kato("version").out == home.kato("--version").out == printed
    assert home.kato("version", "--format", "json").json["versions"]["registry"] == 1


def test_help_of_every_command_is_shown_without_a_home(home: Home) -> None:
    done = home.kato("--help")

    assert done.code == 0
    for command in ("start", "stop", "restart", "list", "status", "inspect", "logs", "gateway"):
        assert f"  {command} " in done.out
    assert "--recall-threshold" in home.kato("start", "-h").out
    assert not home.registry.exists()


@pytest.mark.parametrize(
    "group", [[], ["gateway"], ["templates"], ["image"], ["services"], ["sessions"], ["guides"]]
)
def test_every_command_is_described_to_the_end(home: Home, group: list[str]) -> None:
    done = home.kato(*group, "--help", env={"COLUMNS": "80"})

    assert [one for one in lines(done.out)[1:] if one.endswith("...")] == []


def test_both_commands_and_the_module_are_the_same(home: Home) -> None:
    manager = subprocess.run(
        [KATO.replace("/kato", "/kato-manager"), "version"], capture_output=True, check=True
    )
    module = subprocess.run(
        [sys.executable, "-m", "kato_manager", "version"], capture_output=True, check=True
    )

    assert manager.stdout == module.stdout == home.kato("version").out.encode()


def test_values_with_every_kind_of_character_survive(home: Home) -> None:
    name = 'Bob\'s "$(reboot)" `x` ; é 你好 \\n'
    home.start("--id", "a", "--name", name, "--env", f"ECHO_TEXT={name}")

    assert home.kato("list", "--format", "json").json["instances"][0]["name"] == name
    assert get(home.ports[0])["settings"]["ECHO_TEXT"] == name


def test_a_wrong_environment_variable_is_named(home: Home) -> None:
    for variable, value in (
        ("KATO_PORT_RANGE", "9000-8000"),
        ("KATO_GATEWAY_PORT", "many"),
        ("KATO_RUNTIME", "moon"),
        ("KATO_LOCK_TIMEOUT", "-1"),
    ):
        done = home.start("--id", "a", env={variable: value})
        assert done.code == 2
        assert done.err.startswith(f"error: {variable}: '{value}' is not a")
