"""What quick commands must not import: names of modules, so that no slow machine fails this."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SLOW = {
    "asyncio",
    "docker",
    "email",
    "fastapi",
    "filelock",
    "numpy",
    "psutil",
    "pydantic",
    "requests",
    "rich",
    "uvicorn",
    "yaml",
}
MAIN = "from kato_manager.cli.main import main; main()"


def completion(line: str) -> dict[str, str]:
    """What a shell sets to complete this line."""
    return {
        "_KATO_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }


def loaded(home: Path, *words: str, **environ: str) -> set[str]:
    """The top-level packages that a command imports on its way."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", MAIN, *words],
        env={**os.environ, "KATO_HOME": str(home), **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


QUICK = {
    "list": (["list"], {}),
    "list as JSON": (["list", "--format", "json"], {}),
    "list some": (["ls", "-q"], {}),
    "completion of ids": ([], completion("kato stop a")),
    "completion of commands": ([], completion("kato st")),
    "completion of options": ([], completion("kato start --re")),
}


@pytest.mark.parametrize(("words", "environ"), QUICK.values(), ids=QUICK)
def test_a_quick_command_imports_nothing_slow(
    tmp_path: Path, words: list[str], environ: dict[str, str]
) -> None:
    (tmp_path / "instances.json").write_text(
        '{"version": 1, "instances": {"abc": {"api_port": 9, "status": "running"}}}'
    )

    assert loaded(tmp_path, *words, **environ) & SLOW == set()


def test_a_start_imports_no_engine_and_no_server(home) -> None:
    words = ("start", "--template", "echo", "--no-gateway", "--id", "a")

    found = loaded(home.path, *words, **home.environ)

    assert found & {"asyncio", "docker", "fastapi", "numpy", "requests", "uvicorn"} == set()
