"""An apply that is killed at any moment and run again ends in the planned state."""

import random
import signal
import subprocess
from pathlib import Path

import pytest

from homes import Home, get

COUNT = 4
LONGEST_S = 1.5  # about what an undisturbed apply of this file takes
SEED = 7


def write(file: Path, prediction: int) -> None:
    """A chain and a pair, so that a kill meets starts, replacements and waiting steps."""
    file.write_text(
        f"shared: {{template: echo, grace: 3s, max_predictions: {prediction}}}\n"
        "instances: [{id: a}, {id: b, depends_on: [a]}, {id: c}, {id: d, depends_on: [c]}]\n"
    )


def killed_apply(home: Home, file: Path, delay_s: float) -> None:
    command = home.spawn("apply", "-f", str(file), "--no-gateway")
    try:
        command.communicate(timeout=delay_s)
    except subprocess.TimeoutExpired:
        command.send_signal(signal.SIGKILL)
        command.communicate()


def check(home: Home, file: Path, prediction: int) -> None:
    again = home.kato("apply", "-f", str(file), "--no-gateway", "--parallel", "4")
    plan = home.kato("plan", "-f", str(file), "--detailed-exitcode")

    assert again.code == 0, again.err
    assert plan.code == 0, plan.out
    entries = home.document["instances"]
    assert sorted(entries) == ["a", "b", "c", "d"]
    assert len(home.processes()) == COUNT
    answers = {name: get(entry["api_port"]) for name, entry in entries.items()}
    assert {name: one["instance_id"] for name, one in answers.items()} == {n: n for n in entries}
    predictions = {one["settings"]["ECHO_MAX_PREDICTIONS"] for one in answers.values()}
    assert predictions == {str(prediction)}


@pytest.mark.parametrize(
    "kills", [5, pytest.param(20, marks=[pytest.mark.soak, pytest.mark.timeout(600)])]
)
def test_a_killed_apply_is_completed_by_the_next(home, tmp_path, kills):
    chance, file = random.Random(SEED), tmp_path / "multi.yaml"

    for number in range(kills):
        write(file, number + 1)
        killed_apply(home, file, chance.uniform(0.2, LONGEST_S))
        check(home, file, number + 1)
