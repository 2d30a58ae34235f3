"""The names of the guides do what the guides print."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from kato_sessions import guides
from kato_sessions.aio import Asynchronous
from kato_sessions.chat import Message, SessionStore
from kato_sessions.config import from_block, from_environment
from kato_sessions.errors import InvalidSession, SessionNotFound
from kato_sessions.profile import KATO, PULSEPAL, SERVICE
from kato_sessions.pulsepal import SessionManager, Settings

HOUR = 3_600_000


@dataclass
class CandidateSet:
    titles: list[str]


@pytest.fixture
def chats(tmp_path, clock):
    with SessionStore(tmp_path / "data/chat/sessions.db", clock=clock) as store:
        yield store


@pytest.fixture
def pulsepal(tmp_path, clock):
    settings = Settings(session_storage_path=tmp_path / "sessions")
    with SessionManager(settings, clock=clock) as manager:
        yield manager


def run_module(name, *arguments, cwd):
    entry = str(guides.path())
    environ = {**os.environ, "PYTHONPATH": entry}
    command = [sys.executable, "-m", name, *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, check=False
    )


# The chat guide


def test_a_chat_keeps_messages_with_their_results(chats):
    session = chats.create_session(user_id="user123")
    chats.add_message(session.session_id, Message(role="user", content="Find books by Oxford"))
    chats.add_message(
        session.session_id,
        Message(role="assistant", content="Found 15", candidate_set=CandidateSet(["A"])),
    )
    chats.update_context(session.session_id, {"last_publisher": "Oxford"})
    chats.update_context(session.session_id, {"last_result_count": 15})

    found = chats.get_session(session.session_id)
    assert [(m.role, m.content, m.candidate_set) for m in found.messages] == [
        ("user", "Find books by Oxford", None),
        ("assistant", "Found 15", {"titles": ["A"]}),
    ]
    assert found.context == {"last_publisher": "Oxford", "last_result_count": 15}
    assert found.get_recent_messages(n=1) == found.messages[1:]
    assert [one.session_id for one in chats.list_user_sessions("user123")] == [session.session_id]


def test_expired_chats_stay_in_the_database_but_are_not_given_out(chats, clock):
    old, young = chats.create_session().session_id, chats.create_session().session_id
    clock.advance(10 * HOUR)
    chats.add_message(young, Message(role="user", content="x"))
    clock.advance(3 * HOUR)

    assert chats.expire_old_sessions(max_age_hours=12) == 1
    assert chats.get_session(old) is None
    assert chats.get_history(old).expired_at is not None
    assert chats.expire_session(young) is True
    assert chats.expire_session(young) is False
    clock.advance(30 * HOUR)
    assert chats.expire_old_sessions() == 0
    with pytest.raises(SessionNotFound):
        chats.add_message("nobody", Message(role="user", content="x"))


def test_the_monitoring_sql_of_the_guide_works(tmp_path):
    with SessionStore(tmp_path / "c.db") as store:
        first, second = store.create_session(), store.create_session(user_id="u")
        store.add_message(first.session_id, Message(role="user", content="x"))
        store.expire_session(second.session_id)
        db = sqlite3.connect(tmp_path / "c.db")
        active = "SELECT COUNT(*) FROM chat_sessions WHERE expired_at IS NULL"
        assert db.execute(active).fetchone() == (1,)
        assert db.execute("SELECT COUNT(*) FROM chat_messages").fetchone() == (1,)
        row = db.execute("SELECT session_id, role, content FROM chat_messages").fetchone()
        assert row == (first.session_id, "user", "x")
        db.close()


OLD_CHATS = """
CREATE TABLE chat_sessions (session_id TEXT PRIMARY KEY, user_id TEXT, created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL, context TEXT, metadata TEXT, expired_at TEXT);
CREATE TABLE chat_messages (id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL,
  role TEXT NOT NULL, content TEXT NOT NULL, query_plan TEXT, candidate_set TEXT,
  timestamp TEXT NOT NULL);
INSERT INTO chat_sessions VALUES
  ('a', 'u', '2023-11-14T22:00:00', '2023-11-14T22:10:00', '{"last": 1}', NULL, NULL),
  ('b', NULL, '2023-11-14T22:00:00+00:00', '2023-11-14T22:10:00', NULL, '{}',
   '2023-11-14T22:11:00');
INSERT INTO chat_messages (session_id, role, content, candidate_set, timestamp) VALUES
  ('a', 'assistant', 'second', '{"n": 2}', '2023-11-14T22:05:00'),
  ('a', 'user', 'first', NULL, '2023-11-14T22:04:00');
"""


def test_a_database_of_the_guide_is_migrated_in_place_with_a_backup(tmp_path, clock):
    db = sqlite3.connect(tmp_path / "sessions.db")
    db.executescript(OLD_CHATS)
    db.close()

    with SessionStore(tmp_path / "sessions.db", clock=clock) as store:
        session = store.get_session("a")
        assert [(m.role, m.content) for m in session.messages] == [
            ("user", "first"),
            ("assistant", "second"),
        ]
        assert session.messages[1].candidate_set == {"n": 2}
        assert (session.user_id, session.context) == ("u", {"last": 1})
        assert store.get_session("b") is None
        store.add_message("a", Message(role="user", content="third"))
        assert len(store.get_session("a").messages) == 3
    backup = sqlite3.connect(tmp_path / "sessions.db.schema-0.bak")
    assert backup.execute("SELECT count(*) FROM chat_messages").fetchone() == (2,)
    backup.close()


def test_the_chat_commands_print_what_the_guide_shows(tmp_path):
    made = run_module("app.cli", "chat-init", "--user-id", "user123", cwd=tmp_path)
    lines = made.stdout.splitlines()
    session_id = lines[0].removeprefix("Created session: ")
    assert lines[1:] == ["User: user123", "Database: data/chat/sessions.db"]
    with SessionStore(tmp_path / "data/chat/sessions.db") as store:
        store.add_message(session_id, Message(role="user", content="hi"))

    history = run_module("app.cli", "chat-history", session_id, cwd=tmp_path)
    assert history.stdout == "[user] hi\n"
    cleaned = run_module("app.cli", "chat-cleanup", "--max-age-hours", "0", cwd=tmp_path)
    assert cleaned.stdout == "Expired sessions: 1\n"
    missing = run_module("app.cli", "chat-history", "nobody", cwd=tmp_path)
    assert (missing.returncode, missing.stderr) == (
        1,
        "error: session 'nobody' not found: no session has this id\n",
    )


# The PulsePal guide


def test_a_pulsepal_session_is_a_readable_file(pulsepal, tmp_path):
    session_id = pulsepal.create_session()
    pulsepal.close()
    path = tmp_path / f"sessions/active/session_{session_id}.json"
    assert json.loads(path.read_bytes())["session"]["id"] == session_id
    assert session_id in json.loads((tmp_path / "sessions/metadata.json").read_bytes())["sessions"]


def test_a_conversation_keeps_history_language_and_code(pulsepal):
    context = pulsepal.get_session()
    context.add_conversation("user", "How do I do this in MATLAB?")
    context.add_conversation("assistant", "Like this, not in python")
    context.add_code_example("x = 1", "matlab", "one")
    context.update_metadata(important=True)

    again = pulsepal.get_session(context.session_id)
    assert again.session_id == context.session_id
    assert [(m["role"], m["content"]) for m in again.conversation_history] == [
        ("user", "How do I do this in MATLAB?"),
        ("assistant", "Like this, not in python"),
    ]
    assert again.preferred_language == "matlab"
    assert again.code_examples == [{"code": "x = 1", "language": "matlab", "description": "one"}]
    assert again.metadata == {"important": True}


def test_an_unknown_or_expired_id_gives_a_new_session(pulsepal, clock):
    first = pulsepal.create_session()
    clock.advance(3 * HOUR)
    assert pulsepal.get_session(first).session_id != first
    assert pulsepal.get_session("nobody").session_id != "nobody"


def test_statistics_have_the_keys_of_the_dashboard(pulsepal, clock):
    oldest = pulsepal.create_session()
    clock.advance(HOUR)
    pulsepal.get_session(oldest)
    other = pulsepal.create_session()
    pulsepal.archive_session(other)
    stats = pulsepal.get_session_stats()

    assert {name: stats[name] for name in stats if name != "storage_mb"} == {
        "active_count": 1,
        "archived_count": 1,
        "avg_age_hours": 1.0,
        "oldest_session_id": oldest,
    }
    assert pulsepal.get_active_session_count() == 1
    assert pulsepal.get_activity_metrics()["total_messages"] == 0
    assert pulsepal.get_storage_usage()["archive_bytes"] > 0


def test_expired_sessions_are_archived_and_restored(pulsepal, clock):
    session_id = pulsepal.create_session()
    pulsepal.get_session(session_id).add_conversation("user", "x")
    clock.advance(3 * HOUR)
    assert pulsepal.archive_expired_sessions() == 1
    (archived,) = pulsepal.list_archived_sessions()
    assert (archived["session_id"], archived["date"]) == (session_id, "2023-11-15")
    assert pulsepal.restore_session(session_id, "2023-11-15") == session_id
    assert len(pulsepal.get_session(session_id).conversation_history) == 1


@pytest.mark.parametrize("name", ["session.json", "session_{id}.json"])
def test_an_archive_unzipped_into_active_by_hand_is_live_again(tmp_path, name):
    settings = Settings(session_storage_path=tmp_path)
    with SessionManager(settings) as manager:
        session_id = manager.create_session()
        manager.get_session(session_id).add_conversation("user", "x")
        path = manager.archive_session(session_id)
        target = tmp_path / "active" / name.format(id=session_id)
        with path.open("rb") as archive, target.open("wb") as active:
            subprocess.run(["gunzip"], stdin=archive, stdout=active, check=True)

        assert [one.id for one in manager.list_sessions()] == [session_id]
        assert len(manager.get_session(session_id).conversation_history) == 1


def test_the_scripts_of_the_guide_run(tmp_path):
    made = run_module("pulsepal.cli", "sessions", "list", cwd=tmp_path)
    assert (made.returncode, made.stdout) == (0, "")
    with SessionManager(Settings(session_storage_path=tmp_path / "sessions")) as manager:
        session_id = manager.create_session()
    (tmp_path / "logs").mkdir()
    line = {"session_id": "lost", "ts": 1, "role": "user", "content": "x"}
    (tmp_path / "logs/a.jsonl").write_text(json.dumps(line))

    def run(name, *arguments):
        done = run_module(name, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    sessions = ("pulsepal.cli", "sessions")
    assert run(*sessions, "list") == f"{session_id}  0 messages\n"
    assert f'"id": "{session_id}"' in run(*sessions, "show", session_id)
    assert run(*sessions, "export", session_id, "--output", "h.json") == "Exported to h.json\n"
    assert run(*sessions, "delete", session_id) == f"Deleted session: {session_id}\n"
    assert run(*sessions, "import", "h.json") == f"Imported session: {session_id}\n"
    assert "1 rebuilt" in run("scripts.rebuild_sessions", "--from-logs", "logs")
    with SessionManager(Settings(session_storage_path=tmp_path / "sessions")) as manager:
        day = manager.archive_session("lost").parent.name
    restore = ("scripts.restore_session", "--session-id", "lost", "--date", day)
    assert run(*restore) == "Restored session: lost\n"
    assert "would be archived" in run("scripts.cleanup_sessions", "--dry-run", "--days", "30")
    assert run("scripts.cleanup_sessions", "--force", "--all") == (
        "3 sessions and archives removed\n"
    )


# Settings


def test_settings_come_from_the_environment_unless_given(monkeypatch):
    monkeypatch.setenv("MAX_SESSION_DURATION_HOURS", "36")
    monkeypatch.setenv("SESSION_COMPRESSION", "false")
    monkeypatch.setenv("SESSION_STORAGE_PATH", "/elsewhere")
    settings = Settings(max_conversation_history=200)

    profile = settings.profile()
    assert (profile.max_life_ms, profile.max_items, profile.archive_gzip) == (36 * HOUR, 200, False)
    assert settings.session_storage_path == "/elsewhere"
    assert settings.session_inactive_timeout_hours == 2


def test_the_environment_of_the_kato_guide():
    assert from_environment({"SESSION_TTL": "7200"}, KATO)[0].idle_ttl_ms == 2 * HOUR
    absolute, path = from_environment({"SESSION_AUTO_EXTEND": "false"}, KATO)
    assert (absolute.idle_ttl_ms, absolute.max_life_ms, path) == (None, HOUR, None)


def test_the_block_of_the_service_guide():
    settings = from_block(
        {
            "storage_type": "sqlite",
            "db_path": "data/sessions.db",
            "timeout_hours": 12,
            "cleanup_interval_minutes": 30,
            "max_sessions_per_user": 0,
        }
    )
    assert settings.url == "sqlite:data/sessions.db"
    assert settings.profile.idle_ttl_ms == 12 * HOUR
    assert settings.profile.cleanup_interval_ms == HOUR // 2
    assert settings.profile.max_sessions_per_user == 0
    assert from_block({}).url == "memory:"
    assert from_block({"profile": "pulsepal"}).profile == PULSEPAL


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"timeout": 1}, "sessions.timeout: unknown setting"),
        ({"timeout_hours": "x"}, "sessions.timeout_hours: 'x' is not a number of 0 or more"),
        ({"timeout_hours": 0}, "sessions.timeout_hours: 0 must be more than 0"),
        ({"max_items": 1.5}, "sessions.max_items: 1.5 is not a whole number"),
        ({"storage_type": "tape"}, "sessions.storage_type: 'tape' is none of memory, sqlite"),
        ({"profile": "x"}, "sessions.profile: 'x' is none of kato, pulsepal, service, chat"),
    ],
)
def test_a_wrong_block_names_the_setting(block, message):
    with pytest.raises(InvalidSession) as caught:
        from_block(block)
    assert str(caught.value).startswith(message)


def test_one_implementation_serves_async_callers_too(make):
    async def scenario():
        async with Asynchronous(make(SERVICE)) as store:
            made = await store.create("s")
            return made, await store.get("s"), store.profile

    made, found, profile = asyncio.run(scenario())
    assert (made, profile) == (found, SERVICE)


def test_the_path_of_the_guides_holds_their_modules():
    assert {path.name for path in guides.path().iterdir() if path.is_dir()} >= {
        "app",
        "pulsepal",
        "scripts",
    }
    assert isinstance(guides.path(), Path)
