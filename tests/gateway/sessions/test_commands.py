"""`kato sessions ...` on the store of a home, with no gateway about."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kato_manager.gateway.sessions.places import GATEWAY, places_of
from kato_sessions.connect import open_store
from kato_sessions.model import Item
from kato_sessions.transfer import export_session, to_text

NOW_MS = 1_795_000_000_000


@pytest.fixture
def store(home):
    with places_of(home.settings, {}).open_store() as opened:
        yield opened


def ids(home, *words: str) -> list[str]:
    listed = home.kato("sessions", "list", "--format", "json", *words).json["sessions"]
    return [one["session_id"] for one in listed]


def test_sessions_are_created_listed_shown_and_deleted(home) -> None:
    made = home.kato("sessions", "create", "--user-id", "ann", "--ttl", "60").out.strip()
    named = home.kato("sessions", "create", "--session-id", "mine", "--node-id", "n")
    shown = home.kato("sessions", "show", made).json["session"]

    assert (named.out, ids(home, "--user-id", "ann")) == ("mine\n", [made])
    assert (shown["user_id"], shown["ttl"], shown["state"]) == ("ann", 60, "active")
    assert home.kato("sessions", "delete", made).out == f"{made}  deleted\n"
    assert ids(home) == ["mine"]
    assert sorted(ids(home, "--all")) == sorted(["mine", made])


def test_what_is_wrong_has_its_exit_code_and_says_what_helps(home, store) -> None:
    store.create("mine")

    unknown = home.kato("sessions", "show", "nobody")
    taken = home.kato("sessions", "create", "--session-id", "mine")
    bad_url = home.kato("sessions", "list", "--store", "mysql:x")
    instance = home.kato("sessions", "bind", "node", "nobody")

    assert (unknown.code, taken.code, bad_url.code, instance.code) == (3, 4, 2, 3)
    assert unknown.err == "error: session 'nobody' not found: no session has this id\n"
    assert taken.err.startswith("error: session 'mine' exists\n")
    assert "hint: use memory:, files:PATH, sqlite:PATH or redis://" in bad_url.err


def test_a_session_goes_out_and_comes_back_to_the_byte(home, store, tmp_path) -> None:
    store.create("mine", user_id="ann")
    store.append("mine", [Item(kind="query", content="hello", latency_ms=1.5, status=200)])
    before = to_text(export_session(store, "mine"))

    home.kato("sessions", "export", "mine", "--output", str(tmp_path / "h.json"))
    home.kato("sessions", "delete", "mine")
    back = home.kato("sessions", "import", str(tmp_path / "h.json"))

    assert (tmp_path / "h.json").read_text() == before + "\n"
    assert (back.out, to_text(export_session(store, "mine"))) == ("mine\n", before)
    assert home.kato("sessions", "import", str(tmp_path / "h.json")).code == 4


def test_the_history_is_a_table_and_json(home, store) -> None:
    store.create("mine")
    item = Item(ts=NOW_MS, kind="observe", content={"strings": ["a"]}, instance_id="a", status=200)
    store.append("mine", [item])
    at = datetime.fromtimestamp(NOW_MS / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    table = home.kato("sessions", "history", "mine").out
    document = home.kato("sessions", "history", "mine", "--format", "json").json

    assert table.splitlines()[1].split()[:5] == ["1", at, "observe", "a", "200"]
    assert document["items"][0]["content"] == {"strings": ["a"]}


def test_sessions_are_archived_and_restored(home, store) -> None:
    store.create("mine")
    store.append("mine", [Item(content="kept")])

    (path,) = home.kato("sessions", "archive", "mine").out.splitlines()
    listed = home.kato("sessions", "restore").out.splitlines()
    gone = home.kato("sessions", "export", "mine", "--store", f"sqlite:{home.path}/none.db")
    restored = home.kato("sessions", "restore", "mine")

    assert path.endswith("session_mine.json.gz")
    assert listed[1].split()[0] == "mine"
    assert (gone.code, restored.out) == (3, "mine\n")
    assert [one.content for one in store.items("mine")] == ["kept"]


def test_cleaning_up_ends_what_is_due_and_dry_runs_only_tell(home) -> None:
    past = NOW_MS
    with open_store(f"sqlite:{home.path}/sessions.db", profile=GATEWAY, clock=lambda: past) as old:
        old.create("old", ttl_ms=1000)

    dry = home.kato("sessions", "cleanup", "--dry-run")
    done = home.kato("sessions", "cleanup")
    again = home.kato("sessions", "cleanup", "--days", "3")

    assert (dry.out, done.out, again.out) == ("old\n", "old\n", "")
    assert dry.err.startswith("0 would be expired, 1 would be archived")
    assert done.err.startswith("0 expired, 1 archived")


def test_what_is_idle_too_long_ends(home, store) -> None:
    store.create("idle")

    kept = home.kato("sessions", "cleanup", "--max-age-hours", "1")
    ended = home.kato("sessions", "cleanup", "--max-age-hours", "0")

    assert "0 ended after 1 idle hours" in kept.err
    assert "1 ended after 0 idle hours" in ended.err
    assert not store.exists("idle")


@pytest.mark.parametrize(
    "words",
    [
        ("sessions", "cleanup", "--days", "nan"),
        ("sessions", "cleanup", "--days", "inf"),
        ("sessions", "cleanup", "--max-age-hours", "1e300"),
        ("chat-cleanup", "--max-age-hours", "nan"),
        ("chat-cleanup", "--max-age-hours", "inf"),
    ],
    ids=" ".join,
)
def test_a_time_that_is_none_is_refused_and_ends_nothing(home, store, words) -> None:
    store.create("kept")

    done = home.kato(*words)

    assert (done.code, done.out) == (2, "")
    assert done.err.endswith("use a number of 0 or more\n")
    assert store.exists("kept")


def test_removing_all_has_to_be_forced(home, store) -> None:
    store.create("one")
    store.create("two")
    home.kato("sessions", "archive", "two")

    asked = home.kato("sessions", "cleanup", "--all")
    dry = home.kato("sessions", "cleanup", "--all", "--dry-run")
    forced = home.kato("sessions", "cleanup", "--all", "--force")

    assert (asked.code, dry.out) == (2, "1 sessions and 1 archives would be deleted\n")
    assert forced.out == "1 sessions and 1 archives deleted\n"
    assert ids(home) == []


def test_a_store_is_copied_and_moved(home, store, tmp_path) -> None:
    store.create("one", user_id="ann")
    files, copy = f"files:{tmp_path}/files", tmp_path / "copy.db"

    moved = home.kato(
        "sessions", "migrate", "--from", f"sqlite:{home.path}/sessions.db", "--to", files
    )
    backup = home.kato("sessions", "backup", "--output", str(copy))
    from_files = home.kato("sessions", "backup", "--store", files, "-o", f"{tmp_path}/second.db")

    assert (moved.out, backup.out) == ("1 sessions copied\n", f"{copy}\n")
    assert from_files.code == 0
    assert ids(home, "--store", files) == ids(home, "--store", f"sqlite:{copy}") == ["one"]
    assert ids(home, "--store", f"sqlite:{tmp_path}/second.db") == ["one"]
    assert copy.stat().st_mode & 0o777 == 0o600


def test_what_is_not_there_is_not_copied_from(home, tmp_path) -> None:
    done = home.kato("sessions", "migrate", "--from", f"sqlite:{tmp_path}/typo.db", "--to", "x:")

    assert (done.code, list(tmp_path.glob("typo*"))) == (3, [])
    assert home.kato("sessions", "list", "--store", "sqlite:").code == 2


def test_figures_warn_when_the_last_cleanup_failed(home, store) -> None:
    store.create("one")
    calm = home.kato("sessions", "stats", "--format", "json")
    folder = home.path / "gateway"
    folder.mkdir()
    (folder / "sweep.json").write_text(json.dumps({"at": NOW_MS, "error": "disk is full"}))
    alarmed = home.kato("sessions", "stats")

    assert (calm.code, calm.json["stats"]["active_count"]) == (0, 1)
    assert calm.json["stats"]["warnings"] == []
    assert (alarmed.code, alarmed.err) == (
        1,
        "warning: the last cleanup failed: disk is full\n",
    )


def test_the_doctor_sets_corrupt_records_aside(home, store) -> None:
    import sqlite3

    store.create("good")
    store.create("bad")
    database = sqlite3.connect(home.path / "sessions.db")
    with database:
        database.execute("UPDATE sessions SET doc = '{' WHERE id = 'bad'")
    database.close()

    found = home.kato("sessions", "doctor")
    fixed = home.kato("sessions", "doctor", "--fix")
    calm = home.kato("sessions", "doctor")

    assert (found.code, fixed.code, calm.code) == (1, 1, 0)
    assert "warning: bad: " in found.err
    assert ids(home) == ["good"]


def test_lost_sessions_are_rebuilt_from_logs(home, store, tmp_path) -> None:
    line = {"session_id": "lost", "ts": "2025-01-18T10:00:00Z", "role": "user", "content": "hi"}
    (tmp_path / "a.jsonl").write_text(json.dumps(line) + "\nbroken\n")

    done = home.kato("sessions", "rebuild", "--from-logs", str(tmp_path))

    assert (done.code, done.out) == (1, "lost\n")
    assert "warning: unreadable: a.jsonl:2:" in done.err
    assert store.exists("lost")


def test_the_timer_is_written_for_systemd(home, tmp_path) -> None:
    done = home.kato("sessions", "timer", "--days", "30", env={"XDG_CONFIG_HOME": str(tmp_path)})

    folder = tmp_path / "systemd/user"
    assert sorted(path.name for path in folder.iterdir()) == [
        "kato-sessions-cleanup.service",
        "kato-sessions-cleanup.timer",
    ]
    service = (folder / "kato-sessions-cleanup.service").read_text()
    assert f'Environment="KATO_HOME={home.path}"' in service
    assert service.rstrip().endswith("-m kato_manager sessions cleanup --days 30")
    assert done.err == "systemctl --user enable --now kato-sessions-cleanup.timer\n"


def test_sessions_in_the_memory_of_the_gateway_are_out_of_reach(home) -> None:
    (home.path / "config.yaml").write_text("sessions: {storage_type: memory}\n")

    done = home.kato("sessions", "list")

    assert done.code == 2
    assert "in the memory of the gateway" in done.err


def test_a_wrong_setting_names_itself(home) -> None:
    (home.path / "config.yaml").write_text("sessions: {timeout_hours: soon}\n")

    done = home.kato("sessions", "list")

    assert done.code == 2
    assert done.err == (
        "error: config.yaml:1:27: sessions.timeout_hours: 'soon' is not a number of 0 or more\n"
        "    1 | sessions: {timeout_hours: soon}\n"
        "      |                           ^^^^\n"
        f"hint: correct {home.path}/config.yaml\n"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "sessions:\n  encrypton: {key_file: k}\n",
            'config.yaml:2:3: sessions.encrypton: unknown setting, did you mean "encryption"?',
        ),
        (
            "sesions:\n  encryption: {key_file: k}\n",
            'config.yaml:1:1: sesions: unknown setting, did you mean "sessions"?',
        ),
        (
            "sessions:\n  redact:\n  - email\n  - {pattern: '['}\n",
            "config.yaml:4:15: sessions.redact[1].pattern: '[' is not a regular expression",
        ),
        ("sessions:\n  encryption:\n", "config.yaml:2:14: sessions.encryption: does not say"),
        ("sessions: {audit: 3}\n", "config.yaml:1:19: sessions.audit: 3 is neither true"),
        (
            "sessions: {encryption: {key_file: gone}}\n",
            "config.yaml:1:35: sessions.encryption.key_file: key file /",
        ),
    ],
)
def test_what_should_guard_the_sessions_and_does_not_is_a_mistake(home, text, said) -> None:
    (home.path / "config.yaml").write_text(text)

    done = home.kato("sessions", "create", "--session-id", "mine")

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {said}")
    assert not (home.path / "sessions.db").exists()


def test_a_setting_of_the_environment_names_itself(home) -> None:
    done = home.kato("sessions", "list", env={"SESSION_TTL": "soon"})

    assert (done.code, done.err) == (2, "error: SESSION_TTL: 'soon' is not a number of 0 or more\n")


def test_encryption_is_switched_on_turned_and_told(home, store) -> None:
    store.create("mine", metadata={"m": "my secret"})
    store.append("mine", [Item(content="my secret")])
    store.create("old")
    store.append("old", [Item(content="my secret")])
    (archive,) = home.kato("sessions", "archive", "old").out.splitlines()
    store.close()
    made = home.kato("sessions", "new-key")
    (home.path / "config.yaml").write_text("sessions: {encryption: {key_file: sessions.key}}\n")

    first = home.kato("sessions", "rewrite")
    turned = home.kato("sessions", "new-key")
    second = home.kato("sessions", "rewrite")

    key = home.path / "sessions.key"
    assert made.err == f"in config.yaml: sessions: {{encryption: {{key_file: {key}}}}}\n"
    assert first.out == second.out == "1 sessions and 1 archives rewritten\n"
    assert turned.out.split() == [turned.out.split()[0], str(key)]
    assert key.stat().st_mode & 0o777 == 0o600
    written = b"".join(one.read_bytes() for one in home.path.glob("sessions.db*"))
    assert b"my secret" not in written + gzip.decompress(Path(archive).read_bytes())
    key.write_text(key.read_text().splitlines()[-1])  # only the newest is needed now
    assert "my secret" in home.kato("sessions", "history", "mine").out
    assert home.kato("sessions", "export", "mine").json["items"][0]["content"] == "my secret"
    assert home.kato("sessions", "restore", "old").out == "old\n"
    copy = home.kato("sessions", "backup").out.strip()
    assert b"my secret" not in Path(copy).read_bytes()
    assert home.kato("sessions", "doctor").code == 0


def test_without_its_key_a_session_is_told_and_left_alone(home) -> None:
    home.kato("sessions", "new-key")
    (home.path / "config.yaml").write_text("sessions: {encryption: {key_file: sessions.key}}\n")
    home.kato("sessions", "create", "--session-id", "mine")
    (home.path / "config.yaml").write_text("")

    shown = home.kato("sessions", "export", "mine")
    doctor = home.kato("sessions", "doctor", "--fix")
    rewritten = home.kato("sessions", "rewrite")

    assert shown.code == 2
    assert "session 'mine' is sealed with key" in shown.err
    assert "hint: add the key to the key file" in shown.err
    assert (doctor.code, rewritten.code) == (1, 1)
    assert "1 sessions or archives are sealed with a key that is not given" in doctor.err
    assert ids(home) == ["mine"]


def test_commands_are_redacted_and_audited_as_the_block_says(home) -> None:
    (home.path / "config.yaml").write_text("sessions: {redact: [email], audit: log/audit.jsonl}\n")
    line = {"session_id": "s", "ts": 1, "role": "user", "content": "from ann@example.org"}
    (home.path / "a.jsonl").write_text(json.dumps(line))

    home.kato("sessions", "rebuild", "--from-logs", str(home.path / "a.jsonl"))
    told = home.kato("sessions", "history", "s", "--format", "json").json

    assert told["items"][0]["content"] == "from [email]"
    lines = [json.loads(x) for x in (home.path / "log/audit.jsonl").read_text().splitlines()]
    assert [x["action"] for x in lines] == ["import", "read", "history"]
    assert all(x["by"].startswith("command ") for x in lines)
