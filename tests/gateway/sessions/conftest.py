"""A whole gateway with two processors, `a` and `b`, for all tests of the folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from homes import Home, get, new_home, wait_until


@dataclass
class Gate:
    """The gateway as a client sees it."""

    home: Home
    client: httpx.Client

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.home.gateway_port}"

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.client.request(method, path, json=body, **options)

    def json(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """The answer, which has to be a success."""
        answer = self.ask(method, path, body, **options)
        assert answer.is_success, answer.text
        return answer.json()

    def create(self, **fields: Any) -> str:
        return self.json("POST", "/sessions", fields)["session_id"]

    def history(self, session_id: str) -> list[dict[str, Any]]:
        return self.json("GET", f"/sessions/{session_id}/history?limit=1000")["items"]

    def instance(self, session_id: str) -> str:
        return self.json("GET", f"/sessions/{session_id}")["instance"]


@pytest.fixture(scope="session")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with new_home(tmp_path_factory.mktemp("gate")) as home:
        for instance_id in ("a", "b"):
            started = home.kato("start", "--id", instance_id, "--group", "pair")
            assert started.code == 0, started.err
        wait_until(lambda: get(home.gateway_port, "/sessions/count"))
        url = f"http://127.0.0.1:{home.gateway_port}"
        with httpx.Client(base_url=url, timeout=30) as client:
            yield Gate(home, client)
