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
