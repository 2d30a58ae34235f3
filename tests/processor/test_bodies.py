"""What JSON and which numbers are taken, and how KATO words a refusal."""

from typing import Any

import pytest

from .conftest import Client


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-32-be"])
def test_json_may_come_in_any_unicode_encoding(client: Client, encoding: str) -> None:
    session = client.session("encoded")

    client.post(session + "/observe", '{"strings": ["é"]}'.encode(encoding))

    assert client.get(session + "/stm")["stm"] == [["é"]]


@pytest.mark.parametrize(
    ("path", "body", "kind", "location"),
    [
        ("/observe", b"null", "missing", ["body"]),
        ("/observe", b"[]", "model_attributes_type", ["body"]),
        (
            "/observe-sequence",
            b'{"observations": [5]}',
            "model_attributes_type",
            ["observations", 0],
        ),
        ("/observe-sequence", b"{}", "missing", ["observations"]),
        ("/config", b"[]", "dict_type", ["body"]),
        ("/observe", b'{"strings": [1]}', "string_type", ["strings", 0]),
        ("/extend?ttl_seconds=1.5", b"", "int_parsing", ["query", "ttl_seconds"]),
        ("/extend?ttl_seconds=" + "9" * 20, b"", "less_than_equal", ["query", "ttl_seconds"]),
    ],
)
def test_problems_are_named_as_kato_names_them(
    client: Client, path: str, body: bytes, kind: str, location: list[Any]
) -> None:
    status, answer = client.send("POST", client.session("named") + path, body)

    assert status == 422
    problem = answer["detail"][0]
    assert problem["type"] == kind
    assert problem["loc"][-len(location) :] == location


def test_whole_numbers_of_a_query_are_as_lax_as_those_of_a_body(client: Client) -> None:
    for text in ("60", "60.0", "+60", "%2060"):
        extended = client.post(client.session("lax") + f"/extend?ttl_seconds={text}")

        assert extended["ttl_seconds"] == 60
