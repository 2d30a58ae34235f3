"""Requests that are wrong: each is refused in the contract's shape, and the service goes on."""

import json
from typing import Any

import pytest

from kato_processor.api.replies import MAX_BODY_BYTES

from .conftest import Client

DEEP = b'{"metadata": ' + b'{"a": ' * 5_000 + b"1" + b"}" * 5_001
LIST_DEEP = b'{"strings": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
NOT_JSON = [
    b"",
    b"{",
    b"}",
    b"[",
    b'{"strings": ["a"}',
    b'{"strings": ["a"],}',
    b"{'strings': ['a']}",
    b"strings=a",
    b"\xff\xfe{}",
    b'{"strings": ["\xc3\x28"]}',
    b'{"strings": ["\\ud800"]}',
    b'{"metadata": {"\\udfff": 1}}',
    b'{"strings": ["a"]} trailing',
    b"\x00\x01\x02",
    b"undefined",
    b"nul",
    DEEP,
    LIST_DEEP,
]
NOT_AN_OBJECT = [None, True, 0, -1.5, "text", [], [1, 2], [{}]]
NOT_OBSERVATIONS: list[Any] = [
    *NOT_AN_OBJECT,
    {"strings": None},
    {"strings": "abc"},
    {"strings": 5},
    {"strings": {"a": 1}},
    {"strings": [1]},
    {"strings": [None]},
    {"strings": [["a"]]},
    {"strings": [True]},
    {"strings": [float("nan")]},
    {"strings": ["ok", 2.5]},
    {"vectors": None},
    {"vectors": "v"},
    {"vectors": [1.0]},
    {"vectors": [["a"]]},
    {"vectors": [[None]]},
    {"vectors": [[[1.0]]]},
    {"vectors": {"a": [1]}},
    {"emotives": None},
    {"emotives": [1]},
    {"emotives": "joy"},
    {"emotives": {"joy": "high"}},
    {"emotives": {"joy": None}},
    {"emotives": {"joy": [1]}},
    {"emotives": {"joy": {}}},
    {"metadata": None},
    {"metadata": 4},
    {"metadata": []},
    {"metadata": "m"},
]
NOT_SEQUENCES: list[Any] = [
    *NOT_AN_OBJECT,
    {},
    {"observations": None},
    {"observations": {}},
    {"observations": "abc"},
    {"observations": [None]},
    {"observations": [[]]},
    {"observations": ["a"]},
    {"observations": [{"strings": [1]}]},
    {"observations": [{"strings": ["ok"]}, {"emotives": {"x": "y"}}]},
    {"observations": [{"unique_id": 5}]},
    {"observations": [], "learn_at_end": "perhaps"},
    {"observations": [], "learn_after_each": 7},
    {"observations": [], "clear_stm_between": None},
]
NOT_SESSIONS: list[Any] = [
    *NOT_AN_OBJECT,
    {},
    {"node_id": None},
    {"node_id": 5},
    {"node_id": ["a"]},
    {"node_id": "n", "ttl_seconds": "soon"},
    {"node_id": "n", "ttl_seconds": 1.5},
    {"node_id": "n", "ttl_seconds": -1},
    {"node_id": "n", "ttl_seconds": 10**12},
    {"node_id": "n", "ttl_seconds": 10**400},
    {"node_id": "n", "ttl_seconds": float("nan")},
    {"node_id": "n", "ttl_seconds": float("inf")},
    {"node_id": "n", "ttl": [1]},
    {"node_id": "n", "metadata": []},
    {"node_id": "n", "metadata": "m"},
    {"node_id": "n", "metadata": 5},
    {"node_id": "n", "metadata": {"x": float("nan")}},
    {"node_id": "n", "config": []},
    {"node_id": "n", "config": "c"},
    {"node_id": "n", "config": {"recall_threshold": 2}},
    {"node_id": "n", "config": {"recall_threshold": "x"}},
    {"node_id": "n", "config": {"recall_threshold": float("nan")}},
    {"node_id": "n", "config": {"max_predictions": 0}},
    {"node_id": "n", "config": {"stm_mode": 1}},
    {"user_id": 5},
    {"node_id": "n", "user_id": ["u"]},
]
NOT_CONFIGS: list[Any] = [
    *NOT_AN_OBJECT,
    {"config": None},
    {"config": []},
    {"config": "x"},
    {"recall_threshold": None},
    {"recall_threshold": float("nan")},
    {"recall_threshold": float("inf")},
    {"recall_threshold": []},
    {"persistence": 2.5},
    {"persistence": 10**30},
    {"max_pattern_length": -1},
    {"max_pattern_length": "3"},
    {"max_predictions": {}},
    {"indexer_type": 5},
    {"indexer_type": []},
    {"stm_mode": None},
    {"process_predictions": 1},
    {"sort_symbols": "no"},
    {"rank_sort_algo": None},
    {"rank_sort_algo": []},
    {"fuzzy_token_threshold": 1.5},
    {"fuzzy_token_threshold": "near"},
    {"filter_pipeline": "length"},
    {"filter_pipeline": ["unknown"]},
    {"filter_pipeline": [1]},
    {"filter_pipeline": [["length"]]},
    {"length_min_ratio": -0.1},
    {"length_max_ratio": 0.5},
    {"length_max_ratio": float("inf")},
    {"jaccard_threshold": 2},
    {"jaccard_min_overlap": 0},
    {"minhash_bands": 1000},
    {"minhash_num_hashes": 1},
    {"bloom_false_positive_rate": 0.5},
    {"max_candidates_per_stage": 1},
    {"affinity_emotive": 5},
    {"enable_filter_metrics": "yes"},
]
BODIES = {
    "/observe": NOT_OBSERVATIONS,
    "/observe-sequence": NOT_SEQUENCES,
    "/config": NOT_CONFIGS,
}


def wrong_requests() -> list[tuple[str, bytes]]:
    """Session sub-path ("" = creation) and body."""
    typed = [
        (path, json.dumps(body).encode()) for path, bodies in BODIES.items() for body in bodies
    ]
    created = [("", json.dumps(body).encode()) for body in NOT_SESSIONS]
    untyped = [(path, body) for path in ("", *BODIES) for body in NOT_JSON]
    return typed + created + untyped


def test_every_wrong_request_is_refused_in_the_contracts_shape(client: Client) -> None:
    session = client.session("malformed")
    client.post(session + "/observe", {"strings": ["before"]})
    wrong = wrong_requests()

    for path, body in wrong:
        where = session + path if path else "/sessions"
        status, answer = client.send("POST", where, body)
        assert status in (400, 422), (path, body[:80], status, answer)
        assert _is_in_shape(answer), (path, body[:80], answer)

    assert len(wrong) >= 150
    assert client.get(session + "/stm")["stm"] == [["before"]]
    assert client.get("/health")["status"] == "healthy"


def _is_in_shape(answer: Any) -> bool:
    detail = answer["detail"]
    if isinstance(detail, list):
        return all({"type", "loc", "msg"} <= problem.keys() for problem in detail) and bool(detail)
    if isinstance(detail, dict):
        return isinstance(detail["error"], str)
    return isinstance(detail, str)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/sessions/nope/stm"),
        ("POST", "/sessions/nope/observe"),
        ("POST", "/sessions/nope/learn"),
        ("PUT", "/sessions/nope/config"),
        ("GET", "/sessions/nope/nothing/here"),
        ("PATCH", "/sessions/nope/stm"),
        ("DELETE", "/sessions/nope"),
        ("POST", "/sessions/nope/extend?ttl_seconds=x"),
        ("POST", "/sessions/a%20b/learn"),
        ("GET", "/sessions/%F0%9F%98%80/stm"),
        ("GET", "/sessions/" + "x" * 2_000 + "/stm"),
        ("GET", "/sessions/..%2F..%2Fetc/stm"),
    ],
)
def test_an_unknown_session_is_404_whatever_is_asked(
    client: Client, method: str, path: str
) -> None:
    status, answer = client.send(method, path, b"{not json")

    assert status == 404
    assert answer["error"]["code"] == "SESSION_NOT_FOUND"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("DELETE", "/health", 405),
        ("POST", "/metrics", 405),
        ("GET", "/metrics/unknown", 404),
        ("GET", "/stats?minutes=soon", 422),
        ("GET", "/stats?minutes=" + "9" * 400, 422),
        ("POST", "/learn/more", 404),
    ],
)
def test_unknown_paths_and_methods_are_refused(
    client: Client, method: str, path: str, status: int
) -> None:
    got, answer = client.send(method, path)

    assert got == status
    assert "detail" in answer


def test_a_body_larger_than_any_use_is_refused(client: Client) -> None:
    session = client.session("huge")
    body = b'{"strings": ["' + b"x" * MAX_BODY_BYTES + b'"]}'

    status, answer = client.send("POST", session + "/observe", body)

    assert status == 413
    assert "larger than" in answer["detail"]


def test_odd_but_valid_observations_are_accepted(client: Client) -> None:
    session = client.session("odd")
    odd = [
        {"strings": ["", " ", "\u200b", "\u0000", "é", "e\u0301", "𝄞", "'", '"', "\\"]},
        {"strings": ["x" * 1_000_000]},
        {"strings": [str(number) for number in range(10_000)]},
        {"emotives": {"": 0.0, "joy": "0.5", "sad": True}},
        {"vectors": [[]]},
        {"vectors": [[], [1.0]]},
        {"vectors": [[1e308, 1e308], [1e308, 1e308]]},
        {"metadata": {"a": {"b": [None, True, 10**30, 1e300]}}},
        {"emotives": {"beyond": float("inf")}},
        {"extra": 1},
        {},
    ]

    for body in odd:
        client.post(session + "/observe", body)

    learned = client.post(session + "/learn")
    assert learned["pattern_name"].startswith("PTRN|")
    assert client.get("/pattern/" + learned["pattern_name"].replace("|", "%7C") + "?node_id=odd")


def test_not_a_number_is_observed_and_shown_as_null(client: Client) -> None:
    session = client.session("nan")
    body = b'{"strings": ["a", "b"], "emotives": {"joy": NaN}, "vectors": [[NaN, 1.0]]}'

    client.post(session + "/observe", body)
    client.post(session + "/learn")
    client.post(session + "/observe", body)

    percept = client.get(session + "/percept-data")["percept_data"]
    assert percept["emotives"] == {"joy": None}
    assert percept["vectors"] == [[None, 1.0]]
    assert client.get(session + "/predictions")["count"] == 1
