"""Queries in words, and chats."""

import subprocess

from homes import KATO


def teach(gate, user_id: str, *words: str) -> None:
    session_id = gate.create(user_id=user_id)
    for word in words:
        gate.json("POST", f"/sessions/{session_id}/observe", {"strings": [word]})
    gate.json("POST", f"/sessions/{session_id}/learn")


def test_the_answer_is_what_the_best_prediction_expects(gate) -> None:
    teach(gate, "ann", "the", "cat", "sat", "down")

    answer = gate.json("POST", "/query", {"query": "The cat", "user_id": "ann"})

    assert answer["response"] == "sat down"
    assert answer["predictions"][0]["matches"] == ["the", "cat"]
    assert answer["metadata"]["thread_id"] == answer["session_id"]


def test_an_unknown_thread_is_made_under_its_name_and_remembers(gate) -> None:
    teach(gate, "ben", "red", "green", "blue")
    first = gate.json("POST", "/query", {"query": "red", "thread_id": "t1", "user_id": "ben"})
    second = gate.json("POST", "/query", {"query": "green"}, headers={"session-id": "t1"})

    shown = gate.json("GET", "/sessions/t1")
    assert (first["session_id"], second["response"]) == ("t1", "blue")
    assert shown["metadata"]["query_count"] == 2
    assert shown["metadata"]["last_query"] == shown["context"]["last_query"] == "green"
    assert shown["context"]["last_response"] == "blue"
    assert [(one["kind"], one["content"]) for one in gate.history("t1")] == [
        ("query", "red"),
        ("response", "green blue"),
        ("query", "green"),
        ("response", "blue"),
    ]


def test_nobody_gets_into_the_thread_of_another_user(gate) -> None:
    mine = gate.json("POST", "/query", {"query": "x", "thread_id": "shared", "user_id": "cleo"})
    wanted = {"query": "y", "thread_id": "shared", "user_id": "dora"}
    others = [gate.json("POST", "/query", wanted) for _ in range(2)]

    assert mine["session_id"] == "shared"
    assert others[0]["session_id"] == others[1]["session_id"] != "shared"
    assert [one["content"] for one in gate.history("shared") if one["kind"] == "query"] == ["x"]


def test_an_agent_may_be_an_instance_a_group_or_any_word(gate) -> None:
    def agent(agent_type: str) -> tuple[str, str]:
        asked = {"query": "hello", "agent_type": agent_type, "user_id": "eve"}
        metadata = gate.json("POST", "/query", asked)["metadata"]
        return metadata["agent_type"], metadata["agent_used"]

    usual = agent("advanced")[1]
    assert [agent("a"), agent("b")] == [("a", "a"), ("b", "b")]
    assert agent("pair")[1] in {"a", "b"}
    assert agent("advanced") == ("advanced", usual)


def test_a_chat_keeps_both_sides_and_makes_its_session_once(gate) -> None:
    first = gate.json("POST", "/chat", {"message": "hello", "session_id": "chat-1"})
    second = gate.json("POST", "/chat?session_id=chat-1&message=again")

    assert first == {"message": "", "candidate_set": [], "session_id": "chat-1"}
    assert second["session_id"] == "chat-1"
    assert [one["role"] for one in gate.history("chat-1")] == ["user", "assistant"] * 2


def test_a_query_goes_on_when_the_instance_has_lost_the_session(gate) -> None:
    first = gate.json("POST", "/query", {"query": "one", "user_id": "fay"})
    instance = first["metadata"]["agent_used"]
    for one in gate.json("GET", f"/{instance}/sessions")["sessions"]:
        if one["node_id"] == "user_fay":
            gate.json("DELETE", f"/{instance}/sessions/{one['session_id']}")

    again = gate.json("POST", "/query", {"query": "two", "thread_id": first["session_id"]})

    assert again["session_id"] == first["session_id"]
    assert again["metadata"]["query_count"] == 2


def test_a_query_without_text_is_refused(gate) -> None:
    answer = gate.ask("POST", "/query", {"user_id": "gil"})

    assert (answer.status_code, answer.json()["code"]) == (422, "session_invalid")


def test_a_query_is_typed_and_kept_in_the_chat_store_of_the_folder(gate, tmp_path) -> None:
    def kato(*words: str) -> str:
        environ = gate.home.environ
        done = subprocess.run(
            [KATO, *words], env=environ, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    teach(gate, "hal", "open", "the", "door")
    made = kato("chat-init", "--user-id", "hal").splitlines()
    session_id = made[0].removeprefix("Created session: ")
    answer = kato("query", "open", "--session-id", session_id, "--user-id", "hal")

    assert made[1:] == ["User: hal", "Database: data/chat/sessions.db"]
    assert answer == "the door\n"
    assert kato("chat-history", session_id) == "[user] open\n[assistant] the door\n"
    assert kato("chat-cleanup", "--max-age-hours", "0") == "Expired sessions: 1\n"


def test_a_query_without_a_gateway_says_how_to_get_one(home) -> None:
    done = home.kato("query", "hello")

    assert (done.code, done.err) == (
        5,
        "error: the gateway is not up\nhint: kato gateway up\n",
    )
