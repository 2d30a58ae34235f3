"""`kato sessions ...` on the store of a home, with no gateway about."""

import json
from datetime import UTC, datetime

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
    assert "sessions.timeout_hours: 'soon' is not a number of 0 or more" in done.err
