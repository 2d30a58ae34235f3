"""The document that describes the API, and whether the API is as described."""

import json
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

from .conftest import Client

KATO = json.loads(files("kato_processor.api").joinpath("kato-3.10.1.json").read_text("utf-8"))
NEVER_ANSWERED = ("get", "/sessions/test/{test_id}")  # KATO lists it, and has no session "test"
SESSION = "/sessions/{session_id}"
OBSERVATION = {"strings": ["a", "b"], "vectors": [[1, 2]], "emotives": {"joy": 1}, "metadata": {}}
SEQUENCE = {"observations": [{"strings": ["c"]}, {"strings": ["d"], "unique_id": "u"}]}
NAMES = {"symbol": "a", "metric_name": "kato_requests_total"}
BODIES: dict[str, Any] = {
    "/sessions": {"node_id": "described", "config": {"recall_threshold": 0.2}},
    "/observe": OBSERVATION,
    "/observe-sequence": SEQUENCE,
    "/config": {"max_predictions": 5},
}
LAST = ["/clear-stm", "/clear-all", "/clear-short-term-memory", "/clear-all-memory"]
Operation = tuple[str, str]


def operations(document: Any) -> dict[Operation, Any]:
    return {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_the_document_describes_all_that_katos_own_does(client: Client) -> None:
    ours, katos = client.get("/openapi.json"), KATO

    described = operations(ours)
    for operation, kato in operations(katos).items():
        assert described[operation] | {"responses": None} == kato | {"responses": None}
        assert described[operation]["responses"].items() >= kato["responses"].items()
    for name, schema in katos["components"]["schemas"].items():
        properties = ours["components"]["schemas"][name]["properties"]
        assert properties.items() >= schema["properties"].items()
    ids = [operation["operationId"] for operation in described.values()]
    assert len(set(ids)) == len(ids)


def test_every_answer_is_as_the_document_says(client: Client) -> None:
    document = client.get("/openapi.json")
    described = operations(document)
    session = client.session("described").removeprefix("/sessions/")
    learned = client.post("/observe", OBSERVATION) and client.post("/learn")
    names = NAMES | {"session_id": session, "pattern_id": learned["pattern_name"][5:]}

    for method, path in sorted(described.keys() - {NEVER_ANSWERED}, key=_turn):
        body = next((BODIES[end] for end in BODIES if path.endswith(end)), None)
        if path.endswith("/learn"):
            client.post(path.removesuffix("/learn").format(**names) + "/observe", OBSERVATION)
        status, answer = client.send(method.upper(), path.format(**names), body)

        assert status == 200, (method, path, answer)
        _assert_described(answer, described[method, path], document)


def _turn(operation: Operation) -> tuple[bool, bool, bool, Operation]:
    """What forgets comes last, and the session goes at the very end."""
    method, path = operation
    return (
        operation == ("delete", SESSION),
        path.endswith(tuple(LAST)),
        method == "delete",
        operation,
    )


def _assert_described(answer: Any, operation: Any, document: Any) -> None:
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    name = schema["$ref"].rpartition("/")[2]
    Draft202012Validator(schema | {"components": document["components"]}).validate(answer)
    properties = document["components"]["schemas"][name]["properties"]
    optional = {"message"} if name.endswith("ClearedResponse") else set()
    assert properties.keys() - optional <= answer.keys() <= properties.keys(), name
