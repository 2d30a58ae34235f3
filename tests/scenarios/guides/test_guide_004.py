"""The chat guide's blocks, typed in an empty folder."""

import asyncio
import re
import sqlite3
from pathlib import Path

import pytest

from kato_sessions.chat import SessionStore

ID = "550e8400-e29b-41d4-a716-446655440000"
DATABASE = "data/chat/sessions.db"


@pytest.fixture
def chats(elsewhere):
    with SessionStore(elsewhere.folder / DATABASE) as store:
        yield store


def test_chat_sessions_are_made_by_command(elsewhere) -> None:
    lines = elsewhere.shell("004/1").splitlines()

    shown = elsewhere.text("004/2").splitlines()
    uuid = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
    assert [uuid.sub("ID", line) for line in lines[3:]] == [uuid.sub("ID", one) for one in shown]
    assert lines[1] == "User: anonymous"
    assert (elsewhere.folder / DATABASE).is_file()


def test_a_query_becomes_part_of_the_history(elsewhere, chats) -> None:
    chats.store.create(ID, user_id="user123")

    elsewhere.shell("004/3")

    assert elsewhere.shell("004/4").splitlines()[0] == "[user] books by Oxford"
    assert [one.role for one in chats.get_session(ID).messages] == ["user", "assistant"]


def test_old_sessions_are_cleaned_up_by_hand_and_by_cron(elsewhere, chats) -> None:
    chats.create_session()
    line = elsewhere.text("004/13").replace("/path/to/project", str(elsewhere.folder))
    schedule, command = line[: len("0 2 * * *")], line[len("0 2 * * *") :]

    assert schedule == "0 2 * * *"
    assert [elsewhere.shell("004/5"), elsewhere.run(command)] == ["Expired sessions: 0\n"] * 2


def test_the_python_api_does_what_the_guide_says(elsewhere, monkeypatch, capsys) -> None:
    monkeypatch.chdir(elsewhere.folder)
    monkeypatch.syspath_prepend(elsewhere.environ["PYTHONPATH"])
    names = {"candidate_set": {"titles": ["A", "B"]}, "user_id": "user123", "sqlite3": sqlite3}

    async def play(*block_ids: str) -> None:
        for block_id in block_ids:
            await elsewhere.python(block_id, names)

    asyncio.run(play("004/6", "004/7", "004/8"))
    first = names["session_id"] = names["session"].session_id
    asyncio.run(play("004/9", "004/10", "004/19"))
    printed = capsys.readouterr().out.splitlines()
    read = names["store"].get_session(first)
    asyncio.run(play("004/11", "004/17"))
    names |= {"session_id": names["session"].session_id, "message": names["user_msg"]}
    asyncio.run(play("004/18"))
    last = names["store"].get_session(names["session_id"])
    names["store"].close()

    assert printed == [
        f"Session ID: {first}",
        "Messages: 2",
        "[user] Find books by Oxford",
        "[assistant] Found 15 books by Oxford University Press",
    ]
    assert read.messages[1].candidate_set == {"titles": ["A", "B"]}
    assert read.context == {"last_publisher": "Oxford", "last_result_count": 15}
    assert names["recent_messages"] == read.messages
    assert [one.session_id for one in names["sessions"]] == [first]
    assert last.session_id != first
    assert last.messages


def test_the_database_is_copied_and_counted_by_sql(elsewhere, chats) -> None:
    _, ended = chats.create_session(), chats.create_session()
    chats.expire_session(ended.session_id)
    chats.close()

    elsewhere.shell("004/14")

    (copy,) = Path(elsewhere.folder, "data/chat").glob("sessions_backup_*.db")
    database = sqlite3.connect(copy)
    counts = [database.execute(elsewhere.text(one)).fetchone() for one in ("004/15", "004/16")]
    database.close()
    assert counts == [(1,), (0,)]
