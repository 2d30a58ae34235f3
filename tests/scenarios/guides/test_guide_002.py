"""The PulsePal guide's blocks, typed in a folder with its modules on PYTHONPATH."""

import asyncio
import json
import re
import sys

import httpx
import pytest

from kato_manager.cli.session_care import units
from kato_sessions.config import from_environment
from kato_sessions.model import DAY_MS, HOUR_MS
from kato_sessions.profile import PULSEPAL
from kato_sessions.pulsepal import SessionManager, Settings

JANUARY_18_MS = 1_737_162_000_000  # 2025-01-18T01:00:00Z
MODULE_PREFIXES = ("pulsepal", "scripts", "app")


@pytest.fixture
def manager(elsewhere):
    settings = Settings(session_storage_path=elsewhere.folder / "sessions")
    with SessionManager(settings) as made:
        yield made


@pytest.fixture
def typed(elsewhere, monkeypatch):
    """Python blocks run here as in a shell of the folder."""
    monkeypatch.chdir(elsewhere.folder)
    monkeypatch.syspath_prepend(elsewhere.environ["PYTHONPATH"])
    monkeypatch.setenv("KATO_URL", elsewhere.url)
    yield elsewhere
    for name in [one for one in sys.modules if one.partition(".")[0] in MODULE_PREFIXES]:
        del sys.modules[name]


def test_sessions_make_themselves_or_are_made(typed) -> None:
    names = asyncio.run(typed.python("002/1", {}))
    made = names["session_manager"]

    assert made.store.exists(names["session_id"])
    assert isinstance(names["response"], str)
    made.close()


def test_the_environment_and_the_program_configure_sessions(typed, tmp_path) -> None:
    environ = dict(re.findall(r"^(\w+)=(\S+)", typed.text("002/2"), re.MULTILINE))
    names = asyncio.run(typed.python("002/3", {}))

    profile, path = from_environment(environ, PULSEPAL)
    assert (profile.max_life_ms, profile.idle_ttl_ms) == (24 * HOUR_MS, 2 * HOUR_MS)
    assert (profile.max_items, profile.max_sessions) == (100, 1000)
    assert (profile.archive_keep_ms, profile.archive_gzip) == (7 * DAY_MS, True)
    assert path == "./sessions"
    given = names["settings"]
    assert (given.max_session_duration_hours, given.max_conversation_history) == (48, 200)
    assert given.session_storage_path == "/custom/path"


def test_sessions_are_archived_by_hand_into_the_layout_of_the_guide(elsewhere, manager) -> None:
    manager.create_session("session_id")
    manager.create_session("abc123")

    elsewhere.shell("002/5")

    root = elsewhere.folder / "sessions"
    shown = re.findall(r"(active|archive|metadata\.json)", elsewhere.text("002/4"))
    assert {one.name for one in root.iterdir()} >= set(shown)
    assert (root / "active/session_abc123.json").is_file()
    assert len(list((root / "archive").glob("????-??-??/session_session_id.json.gz"))) == 1


def test_old_sessions_are_cleaned_up_by_script(elsewhere, manager) -> None:
    manager.create_session("kept")

    printed = elsewhere.shell("002/6").splitlines()

    assert printed[-1] == "1 sessions and archives removed"
    assert manager.get_active_session_count() == 0


def test_sessions_are_managed_by_command(elsewhere, manager) -> None:
    manager.get_session(manager.create_session("mine")).add_conversation("user", "hello")
    lines = elsewhere.text("002/7", session_id="mine").splitlines()
    delete = next(line for line in lines if "sessions delete" in line)
    lines.remove(delete)
    before_import = next(i for i, line in enumerate(lines) if "sessions import" in line)
    lines.insert(before_import, delete)

    printed = elsewhere.run("\n".join(lines))

    assert "mine  1 messages" in printed
    assert printed.splitlines()[-1] == "Imported session: mine"
    assert manager.get_session("mine").conversation_history[0]["content"] == "hello"
    exported = json.loads((elsewhere.folder / "history.json").read_text())
    assert exported["items"][0]["content"] == "hello"


def test_the_schedule_of_the_guide_is_what_we_install(elsewhere, manager) -> None:
    text = elsewhere.text("002/8")
    (line,) = re.findall(r"^0 \* \* \* \* (.+)$", text, re.MULTILINE)
    timer = units(elsewhere.home.path, None)["kato-sessions-cleanup.timer"]

    elsewhere.run(line.replace("/path/to/pulsepal", str(elsewhere.folder)))

    wanted = text[text.index("[Timer]") :].splitlines()
    assert [one for one in wanted if one] == timer[timer.index("[Timer]") :].split()


def test_the_figures_of_the_guide_are_there(typed, manager, capsys) -> None:
    session_id = manager.create_session()
    names = {"session_manager": manager}

    async def play() -> None:
        for block_id in ("002/9", "002/10", "002/11", "002/12", "002/13"):
            await typed.python(block_id, names)

    asyncio.run(play())
    names["sm"].close()

    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["Active Sessions: 1", "Archived Sessions: 0"]
    assert lines[-1] == f"Oldest Session: {session_id}"


def test_backups_are_listed(elsewhere, manager) -> None:
    manager.create_session()
    elsewhere.home.kato(
        *("sessions", "backup", "--store", f"files:{elsewhere.folder}/sessions"),
        *("--output", f"{elsewhere.folder}/sessions/archive/backups/today.db"),
    )

    assert "today.db" in elsewhere.shell("002/14").split()


def test_a_session_is_restored_from_its_day(elsewhere) -> None:
    settings = Settings(session_storage_path=elsewhere.folder / "sessions")
    with SessionManager(settings, clock=lambda: JANUARY_18_MS) as then:
        then.get_session(then.create_session("old1")).add_conversation("user", "hello")
        then.archive_session("old1")

    assert elsewhere.shell("002/15", id="old1") == "Restored session: old1\n"
    with SessionManager(settings) as now:
        assert now.get_session("old1").conversation_history[0]["content"] == "hello"


def test_sessions_are_rebuilt_from_logs(elsewhere, manager) -> None:
    logs = elsewhere.folder / "conversationLogs"
    logs.mkdir()
    line = {"session_id": "lost", "ts": "2025-01-18T10:00:00Z", "role": "user", "content": "hi"}
    (logs / "one.jsonl").write_text(json.dumps(line) + "\n")

    elsewhere.shell("002/16")

    assert manager.get_session("lost").conversation_history[0]["content"] == "hi"


def test_a_command_goes_on_with_a_session(typed, manager, monkeypatch, capsys) -> None:
    session_id = manager.create_session()
    monkeypatch.setattr(sys, "argv", ["cli", "--session-id", session_id])

    asyncio.run(typed.python("002/18", {}))

    assert capsys.readouterr().out.splitlines()[0] == f"Session: {session_id}"


def test_a_web_api_takes_the_session_from_the_header(typed, manager) -> None:
    from pulsepal.main_agent import run_pulsepal  # type: ignore[import-not-found]

    session_id = manager.create_session()
    names = asyncio.run(typed.python("002/19", {"run_pulsepal": run_pulsepal}))

    async def post() -> dict:
        transport = httpx.ASGITransport(app=names["app"])
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            headers = {"session-id": session_id}
            answer = await client.post("/query", params={"text": "hello"}, headers=headers)
            return answer.json()

    answer = asyncio.run(post())
    assert answer["session_id"] == session_id
    assert answer["response"] == ""
