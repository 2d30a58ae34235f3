"""The control process as a process: there is one, it ends in good order, it leaves nothing."""

import signal
import socket
import subprocess
import sys

import pytest

from homes import is_served, wait_until
from kato_manager.gateway.drain import ask


@pytest.fixture
def control(home):
    """Start a control process of the home."""
    children = []

    def start():
        words = [sys.executable, "-m", "kato_manager.gateway.control", "--home", str(home.path)]
        child = subprocess.Popen(words, env=home.environ, stderr=subprocess.PIPE, text=True)
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


def answers(home):
    try:
        return ask(home.path, "GET", "/status", timeout_s=5).get("pid")
    except OSError:
        return None


def test_it_ends_at_once_although_somebody_listens_to_events(control, home):
    child = control()
    wait_until(lambda: answers(home) == child.pid)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.connect(str(home.path / "gateway" / "control.sock"))
        listening.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert listening.recv(4096).startswith(b"HTTP/1.1 200")

        child.send_signal(signal.SIGTERM)

        assert child.wait(10) == 0
    assert not (home.path / "gateway" / "control.sock").exists()


def test_there_is_one_and_the_next_one_takes_over(control, home):
    first = control()
    wait_until(lambda: answers(home) == first.pid)
    second = control()

    first.kill()

    wait_until(lambda: answers(home) == second.pid)


def test_instances_outlive_it(control, home):
    child = control()
    wait_until(lambda: answers(home) == child.pid)
    home.start("--id", "a")
    port = home.document["instances"]["a"]["api_port"]

    child.kill()
    child.wait(10)

    assert is_served(port)
    assert home.kato("list", "--format", "json").json["instances"][0]["status"] == "running"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "health_interval_s: soon",
            "control: config.yaml: health_interval_s: 'soon' is not a number above 0",
        ),
        (
            "sessions: {encryption: {key_file: /nowhere}}",
            "config.yaml:1:35: sessions.encryption.key_file: key file /nowhere is not there",
        ),
    ],
)
def test_a_wrong_configuration_ends_it_with_the_reason(control, home, text, said):
    (home.path / "config.yaml").write_text(text)

    child = control()

    assert child.wait(20) == 1
    assert said in child.stderr.read()
