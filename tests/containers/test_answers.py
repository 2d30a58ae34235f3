"""What a user is told by commands on a real engine: words, exit codes, and what stays as it was."""

import json
from collections.abc import Iterator

import pytest

from contained import Contained
from homes import Home, wait_until

pytestmark = pytest.mark.docker


@pytest.fixture
def contained(home: Home) -> Iterator[Contained]:
    one = Contained(home)
    yield one
    one.close()


def test_7_no_command_changes_anything_while_the_engine_is_silent(contained: Contained) -> None:
    assert contained.start("a").code == 0
    assert contained.start("b").code == 0
    a = contained.id("a")
    file = contained.home.path / "multi.yaml"
    wanted = [{"id": name, "template": "contained", "recall_threshold": 0.7} for name in (a, "new")]
    file.write_text(json.dumps({"instances": wanted}))
    before = contained.home.document["instances"]
    silent = {"DOCKER_HOST": f"unix://{contained.home.path}/nobody.sock"}

    commands = {
        words: contained.home.kato(*words.split(), env=silent).code
        for words in (
            f"start --id {a}",
            "start --id new --template contained",
            f"stop {a} --purge -y",
            "stop --all -y",
            f"apply -f {file} -y --no-gateway",
            f"down -f {file} -y",
            f"logs {a}",
            f"exec {a} true",
            "stats",
            "status",
            "prune -y",
            "adopt",
            "image list",
            "services list",
        )
    }

    assert set(commands.values()) == {5}, commands
    after = contained.home.document["instances"]
    for entry in (*before.values(), *after.values()):
        entry.pop("updated")
    assert after == before
    assert contained.is_consistent()


def test_what_never_answers_is_shown_with_its_last_lines(contained: Contained) -> None:
    """Its container is gone by then, and its log with it."""
    a = contained.id("a")

    refused = contained.start("a", "--timeout", "1", "--env", "ECHO=ill")

    assert refused.code == 6
    assert refused.err == (
        f"error: instance '{a}' was not ready after 1 s: GET /health answered 503\n"
        f"  | echo {a} starts\n"
        "hint: give it longer with --timeout, or set where it answers;"
        " it was asked at container_port 8000, health /health\n"
    )
    assert (contained.entries(), contained.containers()) == ({}, {})


def test_what_does_not_run_is_neither_entered_nor_measured(contained: Contained) -> None:
    assert contained.start("a").code == 0
    assert contained.start("b").code == 0
    a, b = contained.id("a"), contained.id("b")
    contained.api.kill(f"kato-{a}")
    kato = contained.home.kato
    wait_until(lambda: kato("status", a).code == 3)

    entered = kato("exec", a, "true")
    named = kato("stats", a, "--format", "json")
    every = kato("stats", "--format", "json")

    assert (entered.code, entered.err) == (
        3,
        f"error: container kato-{a} does not run\nhint: kato start --id {a}\n",
    )
    assert (named.code, named.json["stats"], named.err) == (3, [], f"{a}: exited\n")
    assert (every.code, [one["id"] for one in every.json["stats"]]) == (0, [b])


def test_what_was_stopped_is_said_beside_what_could_not_be(contained: Contained) -> None:
    assert contained.start("a").code == 0
    assert contained.start("b").code == 0
    a, b = contained.id("a"), contained.id("b")
    handle = contained.entries()[b]["handle"]
    elsewhere = {**handle, "engine": "another"}
    text = contained.home.registry.read_text().replace(json.dumps(handle), json.dumps(elsewhere))
    contained.home.registry.write_text(text)

    stopped = contained.home.kato("stop", "--all")

    assert (stopped.code, stopped.out) == (8, f"{a}  stopped\n")
    assert f"kato-{b} belongs to docker at" in stopped.err
