"""The session guide's blocks, run against a gateway with a processor behind it."""

import asyncio
import json
import re
import sqlite3

import pytest

from kato_sessions.client import KATOClient, KATOSessionError
from kato_sessions.config import from_environment
from kato_sessions.connect import open_store
from kato_sessions.model import SECOND_MS
from kato_sessions.profile import KATO


def made(world, **fields) -> KATOClient:
    client = world.client()
    client.create_session("my_app", **fields)
    return client


def test_a_session_is_created_with_what_the_guide_shows(world) -> None:
    answer = json.loads(world.shell("000/1"))

    shown = json.loads(world.text("000/2"))
    assert shown.keys() <= answer.keys()
    assert answer["session_id"].startswith("session-")
    assert answer["ttl"] == shown["ttl"]
    assert answer["config"] | shown["config"] == answer["config"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", answer["created_at"])


def test_a_session_is_created_with_configuration_and_ttl(world) -> None:
    answer = json.loads(world.shell("000/3"))
    plain = json.loads(world.shell("000/11"))

    wanted = {"recall_threshold": 0.3, "max_predictions": 50, "use_token_matching": True}
    assert answer["config"] | wanted == answer["config"]
    assert (answer["ttl"], plain["ttl"]) == (7200, 7200)


def test_the_client_creates_a_session(world) -> None:
    names = asyncio.run(world.python("000/4", {"KATOClient": world.client}))

    info = names["kato"].get_session_info()
    assert info["session_id"] == names["session_id"]
    assert (info["ttl"], info["config"]["recall_threshold"]) == (7200, 0.3)


def test_the_requests_of_a_life_cycle_are_answered(world) -> None:
    client = world.client()
    lines = re.compile(r"^(GET|POST|DELETE) +(/\S+)", re.MULTILINE)

    (create,) = lines.findall(world.text("000/6"))
    session_id = client.request(*create)["session_id"]
    for method, path in lines.findall(world.text("000/7", session_id=session_id)):
        body = {} if method == "POST" else None
        assert client.request(method, path, body)["session_id"] == session_id
    (delete,) = lines.findall(world.text("000/9", session_id=session_id))

    assert client.request(*delete) == {"status": "deleted", "session_id": session_id}
    with pytest.raises(KATOSessionError, match="Session not found"):
        client.request("GET", f"/sessions/{session_id}")


@pytest.mark.parametrize(
    ("block_id", "idle_ms", "life_ms"),
    [
        ("000/8", KATO.idle_ttl_ms, None),
        ("000/10", 3600 * SECOND_MS, None),
        ("000/12", KATO.idle_ttl_ms, None),
        ("000/13", None, KATO.idle_ttl_ms),
    ],
)
def test_the_environment_sets_the_clocks(world, block_id, idle_ms, life_ms) -> None:
    environ = dict(re.findall(r"^(\w+)=(\w+)", world.text(block_id), re.MULTILINE))

    profile, _ = from_environment(environ, KATO)

    assert (profile.idle_ttl_ms, profile.max_life_ms) == (idle_ms, life_ms)


@pytest.mark.parametrize("block_id", ["000/12", "000/13"])
def test_a_session_expires_when_the_timetable_says(world, block_id) -> None:
    text = world.text(block_id)
    profile, _ = from_environment(dict(re.findall(r"^(\w+)=(\w+)", text, re.MULTILINE)), KATO)
    times = re.findall(r"^(\d+:\d+) - .*?expires (\d+:\d+)", text, re.MULTILINE)
    now = _ms(times[0][0])
    store = open_store("memory:", profile=profile, clock=lambda: now)

    store.create("s")
    for at, expires_at in times:
        now = _ms(at)
        remaining_ms = store.get("s", touch=True).remaining_ms(now)
        assert now + remaining_ms == _ms(expires_at)

    assert len(times) == 3


def test_the_state_of_a_session_has_what_the_guide_shows(world) -> None:
    client = made(world)

    answer = json.loads(world.shell("000/14", session_id=client.session_id))

    shown = json.loads(world.text("000/15").replace("{...}", "{}"))
    assert shown.keys() <= answer.keys()
    assert (answer["session_id"], answer["node_id"]) == (client.session_id, "my_app")
    assert (answer["ttl"], answer["auto_extend"]) == (3600, True)
    assert 3590 < answer["remaining_ttl"] <= 3600


def test_an_expired_session_is_noticed_and_made_again(world) -> None:
    client = made(world)
    gone = client.session_id
    client.delete_session()
    client.use_session(gone)
    names = {"kato": client, "KATOSessionError": KATOSessionError}

    asyncio.run(world.python("000/16", names))

    assert client.session_id != gone
    assert client.get_stm()["length"] == 0


def test_the_resilient_client_of_the_guide_reconnects(world, capsys) -> None:
    names = {"KATOClient": world.client, "KATOSessionError": KATOSessionError}
    asyncio.run(world.python("000/17", names))
    client, gone = names["kato"], names["kato"].session_id
    client.delete_session()
    client.use_session(gone)

    client.observe(["again"])

    assert capsys.readouterr().out == "Session expired - reconnecting to my_app\n"
    assert client.get_stm()["stm"] == [["again"]]


def test_a_node_has_a_database_of_its_own(world) -> None:
    client = world.client()
    client.create_session("chatbot_production")
    client.observe(["a", "b"])
    client.learn()

    name, *tables = re.findall(r'"(node_\w+)"|- (\w+)', world.text("000/18"))
    (file,) = world.home.path.rglob(f"{name[0]}.db")
    with sqlite3.connect(file) as db:
        found = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
    db.close()
    assert {table for _, table in tables} <= found


def test_users_are_isolated_from_each_other(world) -> None:
    names = asyncio.run(world.python("000/19", {"KATOClient": world.client}))

    names["kato1"].observe(["secret", "word"])
    names["kato1"].learn()
    names["kato2"].observe(["secret"])

    assert names["kato2"].get_predictions()["predictions"] == []


def test_sessions_of_one_node_share_what_is_learned_and_nothing_else(world) -> None:
    names = asyncio.run(world.python("000/20", {"KATOClient": world.client}))
    first, second = names["kato1"], names["kato2"]

    assert [one.get_stm()["stm"] for one in (first, second)] == [[["event_a"]], [["event_b"]]]
    first.observe(["event_c"])
    first.learn()
    second.clear_stm()
    second.observe(["event_a"])
    (prediction,) = second.get_predictions()["predictions"]
    assert prediction["future"] == [["event_c"]]


def test_configuration_changes_in_mid_session(world) -> None:
    client = made(world)

    answer = json.loads(world.shell("000/21", session_id=client.session_id))

    wanted = {"recall_threshold": 0.5, "max_predictions": 200}
    assert answer["config"] | wanted == answer["config"]
    assert client.get_session_info()["config"] == answer["config"]


def test_configuration_is_given_again_to_each_session(world) -> None:
    names = asyncio.run(world.python("000/22", {"kato": world.client()}))

    config = names["kato"].get_session_info()["config"]
    assert config | names["APP_CONFIG"] == config


def test_a_session_is_deleted_by_hand(world) -> None:
    client = made(world)

    answer = json.loads(world.shell("000/23", session_id=client.session_id))

    assert answer["status"] == "deleted"
    with pytest.raises(KATOSessionError, match="not found"):
        client.get_session_info()


@pytest.mark.redis
def test_redis_shows_the_sessions(world, redis_socket) -> None:
    with open_store(f"unix://{redis_socket}", profile=KATO) as store:
        session = store.create(node_id="my_app")
    environ = {"REDIS_SOCKET": str(redis_socket)}

    keys = world.run(world.text("000/24"), **environ).split()
    lines = world.run(world.text("000/25", session_id=session.id), **environ).splitlines()

    assert keys == [f"session:{session.id}"]
    assert int(lines[0]) >= 1
    assert json.loads(lines[1])["node_id"] == "my_app"


def test_the_details_of_a_session_can_be_printed(world, capsys) -> None:
    client = made(world)
    client.observe(["a"])

    asyncio.run(world.python("000/26", {"kato": client}))

    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"Session: {client.session_id}", "Node: my_app"]
    assert lines[-1] == "STM length: 1"


def _ms(clock: str) -> int:
    hours, minutes = clock.split(":")
    return (int(hours) * 60 + int(minutes)) * 60 * SECOND_MS
