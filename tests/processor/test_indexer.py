"""Which setting decides whether vectors become symbols."""

from collections.abc import Callable

import pytest

from .conftest import Client, Server


@pytest.mark.parametrize(("process", "session", "symbols"), [("VI", "LSH", 1), ("LSH", "VI", 0)])
def test_the_process_decides_about_vectors_not_the_session(
    serving: Callable[..., Server], process: str, session: str, symbols: int
) -> None:
    client = Client(serving(INDEXER_TYPE=process).port)
    path = client.session(config={"indexer_type": session})

    observed = client.post(path + "/observe", {"vectors": [[1.0, 2.0]]})

    assert observed["stm_length"] == symbols
    assert client.get(path + "/percept-data")["percept_data"]["vectors"] == [[1.0, 2.0]]
    client.close()
