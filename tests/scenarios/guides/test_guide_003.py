"""The session service's blocks: the same requests, answered by the gateway."""

import asyncio
import json
import re
from dataclasses import replace

import httpx

from kato_manager.gateway.sessions.places import GATEWAY, places_of
from kato_manager.settings import Settings
from kato_sessions.model import HOUR_MS


def sent(world, block_id: str, path: str) -> dict:
    """POST a block of JSON with comments."""
    body = json.loads(re.sub(r"\s//.*", "", world.text(block_id)))
    with httpx.Client() as client:
        return client.post(f"{world.url}{path}", json=body).raise_for_status().json()


async def with_client(world, *block_ids: str) -> dict:
    async with httpx.AsyncClient() as client:
        names = {"client": client}
        for block_id in block_ids:
            await world.python(block_id, names)
        return names


def test_the_configuration_is_taken_from_config_yaml(world, tmp_path) -> None:
    (tmp_path / "config.yaml").write_text(world.text("003/1"))

    places = places_of(Settings.load({"KATO_HOME": str(tmp_path)}), {})

    assert (places.url, places.profile) == (
        "memory:",
        replace(
            GATEWAY,
            idle_ttl_ms=24 * HOUR_MS,
            cleanup_interval_ms=HOUR_MS,
            max_sessions_per_user=10,
        ),
    )


def test_a_query_makes_the_session_that_it_names(world) -> None:
    answer = sent(world, "003/2", "/query")
    again = sent(world, "003/2", "/query")

    assert answer["metadata"]["thread_id"] == "session_123"
    assert answer["metadata"]["agent_type"] == "advanced"
    counts = [one["metadata"]["query_count"] for one in (answer, again)]
    assert counts[1] == counts[0] + 1


def test_a_session_keeps_user_and_metadata(world) -> None:
    answer = sent(world, "003/3", "/sessions")

    metadata = answer["metadata"]
    assert answer["user_id"] == "user_123"
    assert metadata | {"source": "webapp", "version": "1.0"} == metadata


def test_a_conversation_stays_in_its_session(world) -> None:
    names = asyncio.run(with_client(world, "003/4"))
    asyncio.run(names["chat_example"]())

    with httpx.Client(base_url=world.url) as client:
        (session,) = client.get("/users/john_doe/sessions").json()["sessions"]
        history = client.get(f"/sessions/{session['session_id']}/history").json()["items"]
    assert session["metadata"]["source"] == "chat_app"
    assert session["metadata"]["query_count"] == 2
    assert [one["content"] for one in history if one["kind"] == "query"] == [
        "I am a Python programmer",
        "What tools do you recommend for work?",
    ]


def test_a_query_without_a_session_makes_one_and_it_is_counted(world, capsys) -> None:
    names = asyncio.run(with_client(world, "003/5", "003/6"))

    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"Active sessions: [1-9]\d*", lines[0])
    assert f"Session: {names['session_id']}, Queries: 1" in lines
