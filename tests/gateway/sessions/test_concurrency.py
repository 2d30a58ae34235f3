"""Many clients at once, by two client libraries: no 404, nothing lost, nothing doubled."""

import asyncio
import http.client
import json
from concurrent.futures import ThreadPoolExecutor

import aiohttp

CLIENTS = 8
OBSERVATIONS = 15


def observe_by_threads(gate, session_ids: list[str]) -> list[int]:
    """One connection a client, kept; each client observes in every session by turns."""

    def work(client: int) -> list[int]:
        connection = http.client.HTTPConnection("127.0.0.1", gate.home.gateway_port, timeout=60)
        found = []
        for number in range(OBSERVATIONS):
            path = f"/sessions/{session_ids[number % len(session_ids)]}/observe"
            body = json.dumps({"strings": [f"t{client}-{number}"]})
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            found.append(answer.status)
        connection.close()
        return found

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [status for found in pool.map(work, range(CLIENTS)) for status in found]


async def observe_by_aiohttp(gate, session_ids: list[str]) -> list[int]:
    async with aiohttp.ClientSession(gate.url) as client:

        async def one(worker: int, number: int) -> int:
            path = f"/sessions/{session_ids[number % len(session_ids)]}/observe"
            async with client.post(path, json={"strings": [f"a{worker}-{number}"]}) as answer:
                await answer.read()
                return answer.status

        async def work(worker: int) -> list[int]:
            return [await one(worker, number) for number in range(OBSERVATIONS)]

        found = await asyncio.gather(*map(work, range(CLIENTS)))
        return [status for statuses in found for status in statuses]


def test_no_observation_is_lost_by_either_library(gate) -> None:
    session_ids = [gate.create(node_id="crowd") for _ in range(3)]
    each = CLIENTS * OBSERVATIONS

    with ThreadPoolExecutor(1) as beside:
        threads = beside.submit(observe_by_threads, gate, session_ids)
        statuses = asyncio.run(observe_by_aiohttp(gate, session_ids))
        statuses += threads.result()

    assert statuses == [200] * (2 * each)
    wanted = {
        f"{kind}{c}-{n}" for kind in "at" for c in range(CLIENTS) for n in range(OBSERVATIONS)
    }
    kept, remembered = [], []
    for session_id in session_ids:
        items = gate.history(session_id)
        assert [one["seq"] for one in items] == list(range(1, len(items) + 1))
        kept += [one["content"]["strings"][0] for one in items]
        events = gate.json("GET", f"/sessions/{session_id}/stm")["stm"]
        remembered += [event[0] for event in events]
    assert sorted(kept) == sorted(wanted)
    assert sorted(remembered) == sorted(wanted)


def test_sessions_made_at_once_are_all_there(gate) -> None:
    before = gate.json("GET", "/sessions/count")["count"]

    with ThreadPoolExecutor(CLIENTS) as pool:
        made = list(pool.map(lambda _: gate.create(node_id="rush"), range(40)))
        shown = list(pool.map(lambda one: gate.ask("GET", f"/sessions/{one}").status_code, made))

    assert len(set(made)) == 40
    assert shown == [200] * 40
    assert gate.json("GET", "/sessions/count")["count"] == before + 40


def test_a_session_used_first_by_many_at_once_gets_one_memory(gate) -> None:
    session_id = gate.create()
    words = [f"w{number}" for number in range(CLIENTS)]

    with ThreadPoolExecutor(CLIENTS) as pool:
        path = f"/sessions/{session_id}/observe"
        list(pool.map(lambda word: gate.json("POST", path, {"strings": [word]}), words))

    events = gate.json("GET", f"/sessions/{session_id}/stm")["stm"]
    assert sorted(event[0] for event in events) == words
