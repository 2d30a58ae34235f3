"""The multi-instance guide's blocks, typed on a machine where nothing runs yet."""

import json
import re

import pytest

from kato_manager.registry import Registry


@pytest.fixture(autouse=True)
def _nothing_runs_after(machine):
    yield
    machine.run("docker-compose down")


def running(machine) -> dict[str, dict]:
    listed = machine.home.kato("list", "--format", "json").json["instances"]
    return {one["id"]: one for one in listed}


def objects(text: str) -> list[dict]:
    """Answers that stand one behind the other."""
    decoder, found, place = json.JSONDecoder(), [], text.find("{")
    while place >= 0:
        value, end = decoder.raw_decode(text, place)
        found.append(value)
        place = text.find("{", end)
    return found


def test_sessions_begin_with_a_start_and_two_requests(machine) -> None:
    alice, bob = objects(machine.shell("001/1"))

    assert (alice["user_id"], alice["config"]["max_predictions"]) == ("alice", 50)
    assert (bob["user_id"], bob["config"]["max_pattern_length"]) == ("bob", 10)
    assert (alice["node_id"], bob["node_id"]) == ("user_alice", "user_bob")


def test_sessions_are_listed_shown_deleted_and_configured(machine) -> None:
    machine.run("./start.sh --id main")
    client = machine.client()
    kept, deleted = (client.create_session(user_id="carol") for _ in range(2))
    text = machine.text("001/2").replace("/{session_id}/", f"/{kept}/")
    text = text.replace("{session_id}", kept, 1).replace("{session_id}", deleted)

    listed, shown, gone, configured = objects(machine.run(text))
    client.close()

    assert {kept, deleted} <= {one["session_id"] for one in listed["sessions"]}
    assert shown["session_id"] == kept
    assert gone == {"status": "deleted", "session_id": deleted}
    assert configured["config"]["recall_threshold"] == 0.5


def test_a_port_is_found_or_taken_as_told(machine) -> None:
    machine.shell("001/3")
    assert "my-processor" in running(machine)
    machine.run("docker-compose down my-processor")
    machine.shell("001/4")

    assert running(machine)["my-processor"]["api_port"] == machine.port(9000)


def test_the_registry_of_the_guide_is_read(machine, tmp_path) -> None:
    (tmp_path / "instances.json").write_text(machine.text("001/5"))

    found = Registry(tmp_path).read()

    assert {one.id: (one.spec.name, one.port) for one in found.values()} == {
        "processor-1": ("Main Processor", 8001),
        "processor-2": ("Secondary", 8002),
    }


def test_every_parameter_can_be_set(machine) -> None:
    machine.shell("001/6")

    (config,) = [running(machine)["my-processor"]["settings"]]
    wanted = {
        "indexer_type": "VI",
        "max_predictions": 50,
        "recall_threshold": 0.2,
        "max_pattern_length": 10,
        "persistence": 5,
    }
    assert config | wanted == config


def test_the_configuration_file_is_applied(machine) -> None:
    (machine.folder / "multi-instance.yaml").write_text(machine.text("001/7"))

    machine.run("kato-manager.sh apply -f multi-instance.yaml")

    found = running(machine)
    assert {one: found[one]["name"] for one in found} == {
        "sentiment-analyzer": "Sentiment Analysis",
        "pattern-matcher": "Pattern Matching",
    }


def test_each_instance_is_reached_by_its_id(machine) -> None:
    machine.run("for n in 1 2 3; do ./start.sh --id processor-$n; done")

    ping, observed, predicted = objects(machine.shell("001/8"))

    assert ping["id"] == "processor-1"
    assert (observed["status"], observed["stm_length"]) == ("okay", 1)
    assert predicted["predictions"] == []


@pytest.mark.parametrize("block_id", ["001/9", "001/10", "001/11", "001/14", "001/15"])
def test_differently_configured_instances_run_at_once(machine, block_id) -> None:
    text = machine.shell(block_id) and machine.text(block_id)

    wanted = re.findall(r"--id (\S+)", text)
    found = running(machine)
    assert {one: found[one]["status"] for one in found} == dict.fromkeys(wanted, "running")
    ports = [int(port) for port in re.findall(r"--port (\d+)", text)]
    assert [found[one]["api_port"] for one in wanted] == ports


def test_stop_takes_ids_names_and_all(machine) -> None:
    machine.run("./start.sh --id processor-1; ./start.sh --id other --name 'My Processor'")

    machine.shell("001/12")

    assert running(machine) == {}


def test_leftovers_are_cleaned_by_hand(machine) -> None:
    machine.run("./start.sh --id kato-left")
    text = machine.text("001/13").replace("~/.kato", '"$KATO_HOME"')

    machine.run(text)

    assert running(machine) == {}
