"""What learning keeps and predicting gives, beyond the recorded answers."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from .conftest import Client


def sequence(*events: Any, **options: Any) -> dict[str, Any]:
    """Each event a text of one-character symbols, or a whole observation."""
    return {
        "observations": [{"strings": list(e)} if isinstance(e, str) else e for e in events],
        **options,
    }


def learned(client: Client, session: str, *events: Any) -> str:
    body = sequence(*events, learn_at_end=True)
    name: str = client.post(session + "/observe-sequence", body)["final_learned_pattern"]
    return name


def pattern(client: Client, node: str, name: str) -> Any:
    path = f"/pattern/{name.replace('|', '%7C')}?node_id={node}"
    return client.get(path)["pattern"]["pattern"]


def predicted(client: Client, session: str, *events: Any) -> list[Any]:
    client.post(session + "/clear-stm")
    client.post(session + "/observe-sequence", sequence(*events))
    predictions: list[Any] = client.get(session + "/predictions")["predictions"]
    return predictions


def test_accumulators_are_cleared_by_learning_but_the_percept_stays(client: Client) -> None:
    session = client.session("accumulators")
    first = {"strings": ["a"], "emotives": {"joy": 1.0}, "metadata": {"k": "v"}}
    one = learned(client, session, first, "b")

    percept = client.get(session + "/percept-data")["percept_data"]
    two = learned(client, session, "c", "d")

    assert percept["emotives"] == {"joy": 1.0}
    assert pattern(client, "accumulators", one)["emotives"] == [{"joy": 1.0}]
    assert pattern(client, "accumulators", two)["emotives"] == []
    assert pattern(client, "accumulators", two)["metadata"] == {}


def test_auto_learned_patterns_carry_emotives_and_metadata(client: Client) -> None:
    session = client.session("auto", config={"max_pattern_length": 2})
    client.post(session + "/observe", {"strings": ["a"], "emotives": {"joy": 1}})

    last = client.post(session + "/observe", {"strings": ["b"], "metadata": {"k": True}})

    kept = pattern(client, "auto", last["auto_learned_pattern"])
    assert kept["emotives"] == [{"joy": 1.0}]
    assert kept["metadata"] == {"k": ["True"]}


def test_the_emotive_window_is_the_sessions_persistence(client: Client) -> None:
    session = client.session("window", config={"persistence": 2})
    feelings = [{"strings": ["a"], "emotives": {"joy": n}} for n in range(3)]

    name = learned(client, session, *feelings)
    learned(client, session, *feelings)

    kept = pattern(client, "window", name)
    assert kept["frequency"] == 2
    assert kept["emotives"] == [{"joy": 1.0}, {"joy": 2.0}]


def test_metadata_is_united_as_python_text(client: Client) -> None:
    session = client.session("metadata")
    for value in (None, [1, 2], 1.0, "x", {"a": 1}, True, "x"):
        name = learned(client, session, {"strings": ["a"], "metadata": {"k": value}}, "b")

    assert pattern(client, "metadata", name)["metadata"] == {
        "k": ["1.0", "None", "True", "[1, 2]", "x", "{'a': 1}"]
    }


def test_rank_and_sorting_follow_the_session(client: Client) -> None:
    session = client.session("honoured", config={"rank_sort_algo": "frequency"})
    learned(client, session, "a", "b", "c")
    for _ in range(3):
        often = learned(client, session, "a", "x", "y", "z")

    assert predicted(client, session, "a", "b")[0]["name"] == often.removeprefix("PTRN|")
    client.post(session + "/config", {"sort_symbols": False})
    client.post(session + "/clear-stm")
    client.post(session + "/observe", {"strings": ["z", "a"]})
    assert client.get(session + "/stm")["stm"] == [["z", "a"]]


def test_one_symbol_gives_full_predictions_by_the_threshold(client: Client) -> None:
    session = client.session("single")
    learned(client, session, "x", "a", "'")

    [prediction] = predicted(client, session, "a")

    assert prediction["type"] == "prototypical"
    assert prediction["past"] == [["x"]]
    assert prediction["future"] == [["'"]]
    assert prediction["similarity"] == 0.5
    client.post(session + "/config", {"recall_threshold": 0.6})
    assert predicted(client, session, "a") == []
    assert predicted(client, session, "'") == []


def test_a_repeated_symbol_is_matched_as_often_as_it_occurs(client: Client) -> None:
    session = client.session("repeated")
    learned(client, session, "b", "b", "c")

    [prediction] = predicted(client, session, "b", "c")

    assert prediction["past"] == []
    assert prediction["present"] == [["b"], ["b"], ["c"]]
    assert prediction["similarity"] == pytest.approx(0.8)


def test_a_near_symbol_stands_for_the_patterns_own(client: Client) -> None:
    session = client.session("fuzzy", config={"fuzzy_token_threshold": 0.7})
    words = [{"strings": [word]} for word in ("hello", "wide", "world")]
    learned(client, session, *words)

    [prediction] = predicted(client, session, {"strings": ["hallo"]}, {"strings": ["wide"]})

    assert prediction["matches"] == ["hallo", "wide"]
    assert prediction["anomalies"] == [
        {"observed": "hallo", "expected": "hello", "similarity": 0.8}
    ]
    assert prediction["missing"] == [[], []]
    assert prediction["extras"] == [[], []]
    assert prediction["confidence"] == 1.0
    assert prediction["similarity"] == pytest.approx(0.8)
    assert prediction["future"] == [["world"]]


def test_characters_are_compared_when_tokens_are_not(client: Client) -> None:
    session = client.session("characters", config={"use_token_matching": False})
    words = [{"strings": [word]} for word in ("hello", "world")]
    learned(client, session, *words)

    [prediction] = predicted(client, session, {"strings": ["hallo"]}, {"strings": ["warld"]})

    assert prediction["similarity"] == pytest.approx(1 - 4 / 22)
    assert prediction["matches"] == []
    assert prediction["fragmentation"] == -1


def test_a_pipeline_thins_out_the_candidates(client: Client) -> None:
    session = client.session("pipeline", config={"recall_threshold": 0.0})
    short = learned(client, session, "a", "b")
    long = learned(client, session, *"abcdefghij")
    other = learned(client, session, "x", "y")

    def names(*stages: str) -> set[str]:
        client.post(session + "/config", {"filter_pipeline": list(stages)})
        return {"PTRN|" + p["name"] for p in predicted(client, session, "a", "b")}

    assert names() == {short, long, other}
    assert names("length") == {short, other}
    assert names("jaccard") == {short}
    assert names("minhash") == {short}
    assert names("bloom") == {short, long, other}
    assert names("length", "jaccard") == {short}
    assert names("length", "rapidfuzz") == {short, other}
    assert names("rapidfuzz") == set()


def test_a_length_ratio_beyond_all_numbers_filters_nothing(client: Client) -> None:
    session = client.session("boundless")
    client.post(session + "/config", {"filter_pipeline": ["length"], "length_max_ratio": 1e308})
    for _ in range(2):
        client.post(session + "/observe", {"strings": ["a", "b"]})
        client.post(session + "/learn")
    client.post(session + "/observe", {"strings": ["a", "b"]})

    assert client.get(session + "/predictions")["count"] == 1


def test_more_candidates_than_asked_for_are_pruned_to_the_best(client: Client) -> None:
    session = client.session("pruned", config={"max_predictions": 2})
    names = [learned(client, session, "a", "b", f"{n}", f"{n + 1}") for n in range(12)]
    best = learned(client, session, "a", "b", "c")

    found = predicted(client, session, "a", "b", "c")

    assert found[0]["name"] == best.removeprefix("PTRN|")
    assert len(found) == 2
    assert found[0]["pattern_probability"] == pytest.approx(1 / 6)
    assert len(names) == 12


def test_finalised_patterns_keep_the_entropies_of_their_whole(client: Client) -> None:
    session = client.session("final")
    learned(client, session, "a", "b", "c", "d")
    [before] = predicted(client, session, "a", "b")

    done = client.post(session + "/finalize-training")
    [after] = predicted(client, session, "a", "b")
    learned(client, session, "a", "b", "x", "y")
    fresh = predicted(client, session, "x", "y")[0]

    assert done["patterns_processed"] == 1
    assert before["entropy"] == 1.0
    assert after["entropy"] == 2.0
    assert fresh["entropy"] == 1.0


def test_vectors_are_known_once_learned_and_belong_to_their_session(client: Client) -> None:
    session, other = client.session("vectors"), client.session("vectors")
    learned(client, session, {"strings": ["empty"], "vectors": [[]]}, "b")
    client.post(session + "/observe", {"strings": ["a"], "vectors": [[0.0, 0.0]]})
    learned(client, other, "p", "q")
    client.post(other + "/observe", {"vectors": [[0.1, 0.1]]})
    before = client.get(other + "/stm")["stm"]
    client.post(session + "/learn")

    client.post(other + "/observe", {"vectors": [[0.1, 0.1]]})
    client.post(other + "/observe", {"vectors": [[1.0]]})

    stm = client.get(other + "/stm")["stm"]
    assert len(before[-1]) == 1
    assert [len(event) for event in stm] == [1, 2, 1]
    status, body = client.send("POST", other + "/observe", {"vectors": [[1.0, 2.0], [1.0, 2.0, 3]]})
    assert status == 400
    assert body["detail"]["error"] == "VectorDimensionError"


def test_a_pattern_can_be_deleted(client: Client) -> None:
    session = client.session("deleting")
    name = learned(client, session, "a", "b", "c").replace("|", "%7C")
    kept = learned(client, session, "a", "b", "d")

    assert client.send("DELETE", f"/pattern/{name}?node_id=deleting")[0] == 200

    assert client.send("DELETE", f"/pattern/{name}?node_id=deleting")[0] == 404
    assert [p["name"] for p in predicted(client, session, "a", "b")] == [kept.removeprefix("PTRN|")]


def test_a_deleted_pattern_takes_what_is_felt_about_its_own_symbols(client: Client) -> None:
    session = client.session("unfelt")
    name = learned(client, session, {"strings": ["a"], "emotives": {"joy": 1}}, "b")
    learned(client, session, "a", {"strings": ["c"], "emotives": {"joy": 2}})

    client.send("DELETE", f"/pattern/{name}?node_id=unfelt")

    assert client.get("/symbols/stats?node_id=unfelt")["symbols"].keys() == {"a", "c"}
    affinities = client.get("/symbols/affinity?node_id=unfelt")["affinities"]
    assert affinities == {"a": {"joy": 3.0}, "c": {"joy": 2.0}}


def test_clear_all_forgets_the_node_for_everybody(client: Client) -> None:
    session, other = client.session("clearing"), client.session("clearing")
    learned(client, session, "a", "b", "c")
    predicted(client, other, "a", "b")

    client.post(session + "/clear-all")

    assert client.get(other + "/predictions")["predictions"] == []
    assert client.get(other + "/stm")["stm"] == [["a"], ["b"]]
    assert client.get("/symbols/stats?node_id=clearing")["symbols"] == {}


def test_asking_about_a_node_does_not_make_it(client: Client) -> None:
    assert client.get("/symbols/stats?node_id=never")["symbols"] == {}
    assert client.get("/pattern/x?node_id=never")["pattern"]["status"] == "error"
    assert client.get("/symbols/a%2Fb/affinity?node_id=never")["symbol"] == "a/b"


@pytest.mark.parametrize("symbol", ["a/b", "a\nb", "100%", "", "a/affinity", "é|?#"])
def test_any_symbol_may_be_asked_for(client: Client, symbol: str) -> None:
    path = f"/symbols/{quote(symbol, safe='')}/affinity?node_id=never"

    assert client.get(path)["symbol"] == symbol


def test_cognition_shows_what_the_last_observation_recalled(client: Client) -> None:
    session = client.session("cognition")
    learned(client, session, "a", "b", "c")
    client.post(session + "/observe-sequence", sequence("a", "b"))
    client.post(session + "/learn")

    cognition = client.get(session + "/cognition-data")["cognition_data"]

    assert [p["sequence"] for p in cognition["predictions"]] == [[["a"], ["b"], ["c"]]]
    assert cognition["symbols"] == []
    client.post(session + "/config", {"process_predictions": False})
    assert client.get(session + "/cognition-data")["cognition_data"]["predictions"] == []


def test_node_headers_choose_the_node(client: Client) -> None:
    session = client.session("test_headers")
    name = learned(client, session, "a", "b").replace("|", "%7C")

    for headers in ({"x-test-id": "headers"}, {"x-node-id": "test_headers"}):
        assert client.get(f"/pattern/{name}", headers=headers)["pattern"]["status"] == "okay"
    other = client.get(f"/pattern/{name}?node_id=other", headers={"x-test-id": "headers"})
    assert other["pattern"]["status"] == "error"
    assert json.dumps(other)
