"""What a processor is started with, and how it refuses what is wrong."""

import socket
from pathlib import Path

import pytest

from .process import processor, run


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        done = run(tmp_path, "--port", str(port))

    assert done.returncode == 4
    assert done.stderr == (
        f"kato-processor: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    )


def test_wrong_settings_are_all_named_before_anything_starts(tmp_path: Path) -> None:
    done = run(tmp_path, "--port", "0", RECALL_THRESHOLD="1.5", PERSISTENCE="many", SESSION_TTL="0")

    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "kato-processor: PERSISTENCE: Must be an integer between 1 and 100, not 'many'",
        "kato-processor: RECALL_THRESHOLD: Must be a number between 0.0 and 1.0, not '1.5'",
        "kato-processor: SESSION_TTL: Must be an integer between 60 and 86400, not '0'",
    ]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_unknown_session_store_is_named(tmp_path: Path, workers: str) -> None:
    done = run(
        tmp_path, "--port", "0", "--workers", workers, KATO_SESSION_STORE="postgres://nowhere"
    )

    assert done.returncode == 2
    assert "KATO_SESSION_STORE: store 'postgres://nowhere' is unknown" in done.stderr


@pytest.mark.parametrize(
    ("options", "store", "code", "problem"),
    [
        (["--port", "web"], "", 2, "argument --port: 'web': use 0 to 65535"),
        (["--workers", "65"], "", 2, "argument --workers: '65': use 1 to 64"),
        (["--fd", "77"], "", 4, "descriptor 77: Bad file descriptor"),
        (
            ["--workers", "2"],
            "memory:",
            2,
            "KATO_SESSION_STORE: memory: cannot be shared by several workers",
        ),
    ],
)
def test_a_wrong_option_is_named(
    tmp_path: Path, options: list[str], store: str, code: int, problem: str
) -> None:
    done = run(tmp_path, *options, KATO_SESSION_STORE=store)

    assert done.returncode == code
    assert problem in done.stderr


def test_settings_come_from_the_environment_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("settings: {max_predictions: 7, max_seq_length: 4}\n")
    more = {"KATO_CONFIG_FILE": str(file), "MAX_PREDICTIONS": "9", "SORT": "false"}

    with processor(tmp_path / "data", **more) as (client, _):
        config = client.get(client.session("env") + "/config")["config"]

    assert config["max_predictions"] == 9
    assert config["max_pattern_length"] == 4
    assert config["sort_symbols"] is True
