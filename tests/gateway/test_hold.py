"""Requests for sleeping instances wait for the control process, which a script plays here."""

import json
import socket
import threading
from contextlib import suppress

from gateway.servers import DEADLINE_S, EchoServer, FrontThread, read_head, read_response
from kato_manager.model import Status


class Control:
    """Answers wakes with `answer`, after `wake` did its work."""

    def __init__(self, front: FrontThread, answer: bytes, wake=lambda: None) -> None:
        self.asked: list[bytes] = []
        self.may_answer = threading.Event()
        self._answer, self._wake = answer, wake
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(front.home / "gateway" / "control.sock"))
        self._listener.listen()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    self.asked.append(read_head(connection).partition(b"\r\n")[0])
                    assert self.may_answer.wait(DEADLINE_S)
                    self._wake()
                    connection.sendall(self._answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(DEADLINE_S)


def test_all_requests_wait_for_one_start(front: FrontThread) -> None:
    echo = EchoServer("b c")
    front.record("b c", echo.server_port, status=Status.STOPPED, start="on-demand")
    control = Control(
        front,
        b"HTTP/1.1 204 No Content\r\n\r\n",
        wake=lambda: front.record("b c", echo.server_port, start="on-demand"),
    )
    connections = [front.connect() for _ in range(3)]
    post = b"POST /b%20c/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi"

    for connection in connections:
        connection.sendall(post)
    control.may_answer.set()
    answers = [read_response(connection)[0] for connection in connections]

    for connection in connections:
        connection.close()
    control.close()
    echo.close()
    assert answers == [200, 200, 200]
    assert control.asked[0] == b"POST /internal/wake/b%20c HTTP/1.1"
    assert [body for _, _, body in echo.requests] == [b"hi"] * 3


def test_a_group_that_is_asleep_wakes_one_of_its_members(front: FrontThread) -> None:
    echo = EchoServer("m2")
    front.record("m1", 1, group="g", status=Status.STOPPED)
    front.record("m2", 1, group="g", status=Status.STOPPED, start="on-demand")
    control = Control(
        front,
        b"HTTP/1.1 204 No Content\r\n\r\n",
        wake=lambda: front.record("m2", echo.server_port, group="g", start="on-demand"),
    )
    control.may_answer.set()

    status, headers, _ = front.get("/g/x")
    control.close()
    echo.close()

    assert (status, headers["x-instance"]) == (200, "m2")
    assert control.asked == [b"POST /internal/wake/m2 HTTP/1.1"]


def test_a_start_that_fails_is_told_to_those_who_wait(front: FrontThread) -> None:
    front.record("b", 1, status=Status.STOPPED, start="on-demand")
    problem = json.dumps({"code": "not_ready", "detail": "instance 'b' is not ready"}).encode()
    control = Control(front, b"HTTP/1.1 504 Gateway Timeout\r\n\r\n" + problem)
    control.may_answer.set()

    status, _, body = front.get("/b/x")
    control.close()

    assert (status, json.loads(body)["detail"]) == (504, "instance 'b' is not ready")


def test_without_control_process_a_sleeping_instance_is_503(front: FrontThread) -> None:
    front.record("b", 1, status=Status.STOPPED, reason="idle", start="on-demand")

    status, _, body = front.get("/b/x")

    assert status == 503
    assert json.loads(body)["detail"] == (
        "instance 'b' is stopped: idle, and the control process that would start it does not answer"
    )


def test_an_eager_instance_is_not_started_by_requests(front: FrontThread) -> None:
    front.record("b", 1, status=Status.FAILED, reason="exit code 1")

    status, headers, body = front.get("/b/x")

    assert (status, headers["retry-after"]) == (503, "10")
    assert json.loads(body)["detail"] == "instance 'b' has failed: exit code 1"
