"""What a prediction says, where the recorded answers are silent."""

from .conftest import Client
from .test_behaviour import learned, predicted


def test_a_future_is_the_same_whatever_precedes_it(client: Client) -> None:
    session = client.session("same-future")
    learned(client, session, "a", "b", "e")
    learned(client, session, "af", "b", "e")

    predictions = predicted(client, session, "a", "b")

    (future,) = client.get(session + "/predictions")["future_potentials"]
    assert (future["future"], future["supporting_patterns"]) == ([["e"]], 2)
    assert all(p["predictive_information"] == p["weighted_strength"] for p in predictions)


def test_a_near_symbol_counts_as_the_patterns_own_in_every_metric(client: Client) -> None:
    session = client.session("near-counts", config={"affinity_emotive": "joy"})
    learned(client, session, {"strings": ["hello"], "emotives": {"joy": 1.0}}, "a")
    learned(client, session, "b", "c", "hello")
    exact = predicted(client, session, {"strings": ["hello"]}, "a")
    client.post(session + "/config", {"config": {"fuzzy_token_threshold": 0.8}})

    near = predicted(client, session, {"strings": ["helo"]}, "a")

    seen = {"matches", "anomalies"}
    assert [{k: v for k, v in p.items() if k not in seen} for p in near] == [
        {k: v for k, v in p.items() if k not in seen} for p in exact
    ]


def test_a_pattern_without_a_match_never_displaces_one_with_a_match(client: Client) -> None:
    session = client.session("displaced", config={"recall_threshold": 0, "max_predictions": 1})
    few = learned(client, session, "a", "b")
    for other in ("uv", "uw", "ux"):
        learned(client, session, *other)

    (best,) = predicted(client, session, "a", *"cdefghijklmnopqrstuvwxyz"[:16])

    assert best["name"] == few.removeprefix("PTRN|")
    assert best["matches"] == ["a"]


def test_a_similarity_at_the_threshold_is_enough(client: Client) -> None:
    # 0.68 * 100 is a little more than 68
    config = {"recall_threshold": 0.68, "use_token_matching": False, "sort_symbols": False}
    session = client.session("at-threshold", config=config)
    name = learned(client, session, {"strings": ["a" * 17 + "b" * 5, "cc"]})

    (prediction,) = predicted(client, session, {"strings": ["a" * 17 + "d" * 8]})

    assert prediction["name"] == name.removeprefix("PTRN|")
    assert prediction["similarity"] == 0.68


def test_the_similarity_stage_compares_as_the_session_does(client: Client) -> None:
    config = {"use_token_matching": False, "filter_pipeline": ["length", "rapidfuzz"]}
    session = client.session("similarity-stage", config=config)
    learned(client, session, {"strings": ["walking"]}, {"strings": ["fast"]})

    (prediction,) = predicted(client, session, {"strings": ["walk"]}, {"strings": ["faster"]})

    assert prediction["similarity"] > 0.7
