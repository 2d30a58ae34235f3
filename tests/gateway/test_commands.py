"""`kato gateway` as it is typed: what it refuses, and what it says."""

import pytest

from homes import Home, stranger, wait_until


@pytest.mark.parametrize("command", ["up", "run"])
def test_a_taken_port_names_its_holder(home: Home, command: str) -> None:
    with stranger(home.gateway_port):
        said = home.kato("gateway", command)

    assert said.code == 4
    assert said.err.startswith(f"error: port {home.gateway_port} is used by ")


@pytest.mark.parametrize("command", ["up", "run", "install"])
def test_a_limit_that_does_not_exist_is_refused(home: Home, command: str) -> None:
    said = home.kato("gateway", command, "--limit", "idle=5")

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: there is no limit 'idle'\nhint: limits are: connections,")


def test_options_for_one_that_is_up_are_said_to_come_late(home: Home) -> None:
    first = home.kato("gateway", "up", "--workers", "1")

    again = home.kato("gateway", "up")
    late = home.kato("gateway", "up", "--workers", "2")

    assert first.out == again.out == late.out
    assert (first.err, again.err) == ("", "")
    assert late.err == "it was up already and keeps its options; for others: kato gateway down\n"


def test_it_runs_in_the_foreground_as_the_gateway_of_its_home(home: Home) -> None:
    running = home.spawn("gateway", "run", "--workers", "2")
    try:
        wait_until(lambda: home.kato("gateway", "status").code == 0)
        assert f"pid {running.pid}  workers 2" in home.kato("gateway", "status").out
        assert home.kato("gateway", "down").code == 0
        assert running.wait(30) == 0
    finally:
        running.kill()
        running.communicate()


def test_the_unit_starts_it_with_the_options_given(home: Home, tmp_path) -> None:
    config = {"XDG_CONFIG_HOME": str(tmp_path)}

    said = home.kato("gateway", "install", "--workers", "3", env=config)

    (unit,) = (tmp_path / "systemd" / "user").iterdir()
    assert said.out == f"{unit}\n"
    assert " --workers 3 " in unit.read_text()
