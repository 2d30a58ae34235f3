"""The client against a real processor, and against servers that misbehave."""

import json
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from kato_sessions.client import (
    KATOClient,
    KATOError,
    KATOSessionError,
    ResilientKATOClient,
)


class GuideClient(KATOClient):
    """The class as the KATO guide prints it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.last_node_id = None

    def create_session(self, node_id, **kwargs):
        self.last_node_id = node_id
        return super().create_session(node_id, **kwargs)

    def _auto_reconnect(self, func, *args, **kwargs):
        try:
            return func(*args, **kwargs)
        except KATOSessionError:
            if self.last_node_id:
                print(f"Session expired - reconnecting to {self.last_node_id}")
                self.create_session(self.last_node_id)
                return func(*args, **kwargs)
            raise

    def observe(self, *args, **kwargs):
        return self._auto_reconnect(super().observe, *args, **kwargs)


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    """The URL of a processor of its own, on a port nobody else has."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.set_inheritable(True)
    folder = tmp_path_factory.mktemp("processor")
    environ = {**os.environ, "KATO_HOME": str(folder), "KATO_LISTEN_FD": str(listener.fileno())}
    server = subprocess.Popen(
        [sys.executable, "-m", "kato_processor", "--data-dir", folder],
        env=environ,
        pass_fds=[listener.fileno()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        with KATOClient(url) as client:
            client.request("GET", "/health")
        listener.close()
        yield url
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture
def kato(processor):
    with KATOClient(processor) as client:
        yield client


def test_a_session_from_making_to_deleting(kato):
    session_id = kato.create_session(
        node_id="my_app", config={"recall_threshold": 0.3}, ttl=7200, metadata={"m": 1}
    )
    kato.observe(["hello"])
    kato.observe(["world"], emotives={"joy": 0.5})

    info = kato.get_session_info()
    assert (info["session_id"], info["node_id"], info["ttl"]) == (session_id, "my_app", 7200)
    assert 7190 <= info["remaining_ttl"] <= 7200
    assert kato.get_stm()["stm"] == [["hello"], ["world"]]
    assert kato.get_stm()["length"] == 2
    kato.update_config({"recall_threshold": 0.5})
    kato.extend_session(9000)
    assert kato.get_session_info()["ttl"] == 9000
    kato.delete_session()
    with pytest.raises(KATOSessionError, match="not found"):
        kato.observe(["late"])


def test_what_was_learned_is_predicted(kato):
    kato.create_session("client_learning")
    kato.observe_sequence([["a"], ["b"], ["c"]])
    kato.learn()
    kato.observe(["a"])
    kato.observe(["b"])
    assert kato.get_predictions()["predictions"][0]["future"] == [["c"]]


def test_an_expired_session_is_told_and_reconnected_just_like_it(kato):
    first = kato.create_session("my_app", config={"recall_threshold": 0.3}, ttl=7200)
    kato.update_config(max_predictions=7)
    kato.request("DELETE", f"/sessions/{first}")
    with pytest.raises(KATOSessionError) as caught:
        kato.observe(["hello"])
    assert "not found" in str(caught.value)
    assert caught.value.status == 404

    assert kato.reconnect() != first
    info = kato.get_session_info()
    assert (info["node_id"], info["ttl"]) == ("my_app", 7200)
    assert info["config"]["recall_threshold"] == 0.3
    assert info["config"]["max_predictions"] == 7


def test_the_resilient_client_goes_on_by_itself(processor):
    with ResilientKATOClient(processor) as kato:
        first = kato.create_session("my_app", config={"max_predictions": 5})
        kato.request("DELETE", f"/sessions/{first}")
        kato.observe(["test"])
        assert kato.session_id != first
        assert kato.last_node_id == "my_app"
        assert kato.get_session_info()["config"]["max_predictions"] == 5
        kato.request("DELETE", f"/sessions/{kato.session_id}")
        kato.delete_session()


def test_many_threads_renew_an_expired_session_once(processor):
    with ResilientKATOClient(processor) as kato:
        first = kato.create_session("many_threads")
        kato.request("DELETE", f"/sessions/{first}")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: kato.observe([f"s{number}"]), range(16)))
        assert kato.get_stm()["length"] == 16


def test_the_client_of_the_guide_works_as_printed(processor, capsys):
    with GuideClient(processor) as kato:
        first = kato.create_session("my_app")
        kato.request("DELETE", f"/sessions/{first}")
        kato.observe(["test"])
    assert capsys.readouterr().out == "Session expired - reconnecting to my_app\n"


def test_other_refusals_are_not_session_errors(kato):
    kato.create_session("my_app")
    with pytest.raises(KATOError) as caught:
        kato.request("POST", f"/sessions/{kato.session_id}/observe", {"strings": "no list"})
    assert not isinstance(caught.value, KATOSessionError)
    assert caught.value.status == 422
    with pytest.raises(TypeError):
        kato.observe("hello")


def test_without_a_session_nothing_is_sent():
    with pytest.raises(KATOSessionError, match="not found"):
        KATOClient("http://127.0.0.1:9").observe(["x"])


def test_a_server_that_is_not_there_is_named():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(KATOError, match=url) as caught:
        KATOClient(url).create_session("n")
    assert caught.value.status == 0


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://"])
def test_a_wrong_base_url_is_refused(url):
    with pytest.raises(ValueError, match="base_url"):
        KATOClient(url)


class BreakingServer:
    """Each connection as told: `answer` = one reply, then close; `break` = close at once."""

    def __init__(self, *script):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.requests = []
        self.thread = threading.Thread(target=self._serve, args=(script,))
        self.thread.start()

    def _serve(self, script):
        for step in script:
            connection, _ = self.listener.accept()
            with connection:
                self.requests.append(self._read(connection))
                if step == "answer":
                    body = json.dumps({"session_id": "s"}).encode()
                    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
                    connection.sendall(head.encode() + body)
        self.listener.close()

    @staticmethod
    def _read(connection):
        """The method, once the whole request is here: closing earlier would reset the reply."""
        with connection.makefile("rb") as request:
            method = request.readline().split(b" ")[0].decode()
            size = 0
            while (line := request.readline().strip()) != b"":
                name, _, value = line.partition(b":")
                size = int(value) if name.lower() == b"content-length" else size
            request.read(size)
        return method


def test_a_connection_the_server_closed_meanwhile_is_not_used():
    server = BreakingServer("answer", "answer")
    with KATOClient(server.url) as client:
        client.create_session("a")
        idle = client._connections._idle[0]
        idle.sock.recv(1)  # the server's end of stream has arrived
        client.observe(["x"])
    server.thread.join(10)
    assert server.requests == ["POST", "POST"]


def test_only_an_idempotent_request_is_repeated_when_the_connection_breaks():
    server = BreakingServer("break", "answer", "break")
    with KATOClient(server.url) as client:
        client.use_session("s")
        assert client.get_session_info() == {"session_id": "s"}
        client.close()
        with pytest.raises(KATOError):
            client.observe(["x"])
    server.thread.join(10)
    assert server.requests == ["GET", "GET", "POST"]
