"""`kato-processor nodes|export|import` on the files of stopped and running processors."""

import json
from pathlib import Path

from kato_processor.learning import Batch
from kato_processor.matching import Events
from kato_processor.memory import Lesson
from kato_processor.naming import node_file, pattern_name
from kato_processor.storage import Storage

from .process import processor, run

FELT: list[dict[str, float]] = [{"joy": 0.5}]


def teach(folder: Path, node_id: str, *patterns: Events) -> None:
    folder.mkdir(exist_ok=True)
    storage = Storage(folder / node_file(node_id), node_id)
    lessons = [
        Lesson(
            name=pattern_name(events),
            events=events,
            emotives=FELT,
            metadata=[{"source": "book"}],
            vectors=[("VCTR|v", [1.0, 2.0])],
        )
        for events in patterns
    ]
    storage.learn(Batch(learner=node_id, number=1, lessons=lessons), 5)
    storage.close()


def test_nodes_are_listed_with_their_size(tmp_path: Path) -> None:
    teach(tmp_path, "chatbot", [["a"], ["b"]], [["a"], ["c"]])
    teach(tmp_path, "Ünusual/node", [["x", "y"]])

    done = run(tmp_path, "nodes", "list", "--format", "json")
    table = run(tmp_path, "nodes", "list")

    nodes = {node["node_id"]: node for node in json.loads(done.stdout)["nodes"]}
    assert {name: node["patterns"] for name, node in nodes.items()} == {
        "chatbot": 2,
        "Ünusual/node": 1,
    }
    assert nodes["chatbot"]["file"].endswith("node_chatbot_kato.db")
    assert nodes["chatbot"]["size_bytes"] > 0
    assert table.stdout.splitlines()[0].split() == ["NODE", "PATTERNS", "SIZE", "FILE"]


def test_a_node_is_deleted_only_when_nobody_uses_it(tmp_path: Path) -> None:
    with processor(tmp_path) as (client, _):
        session = client.session("used")
        client.post(session + "/observe", {"strings": ["a", "b"]})
        client.post(session + "/learn")
        refused = run(tmp_path, "nodes", "delete", "used", "--yes")

    unasked = run(tmp_path, "nodes", "delete", "used")
    done = run(tmp_path, "nodes", "delete", "used", "--yes")

    assert refused.returncode == 4
    assert "open in a running processor" in refused.stderr
    assert unasked.returncode == 2
    assert done.returncode == 0
    assert not list(tmp_path.glob("node_used*"))


def test_an_unknown_node_is_named(tmp_path: Path) -> None:
    for command in (("nodes", "delete", "nobody", "--yes"), ("export", "nobody")):
        done = run(tmp_path, *command)

        assert done.returncode == 3
        assert "node 'nobody' has no memory" in done.stderr


def test_knowledge_moves_whole_and_is_united_with_what_is_there(tmp_path: Path) -> None:
    teach(tmp_path / "one", "node", [["a"], ["b"]], [["a"], ["c"]], [["a"], ["b"]])
    teach(tmp_path / "two", "copy", [["a"], ["b"]])
    file = tmp_path / "node.jsonl"

    exported = run(tmp_path / "one", "export", "node", "--output", str(file))
    imported = run(tmp_path / "two", "import", str(file), "--node", "copy")

    assert (exported.returncode, imported.returncode) == (0, 0), imported.stderr
    assert imported.stdout == "imported 2 patterns into node copy\n"
    storage = Storage(tmp_path / "two" / node_file("copy"), "copy")
    found = {str(pattern.events): pattern for pattern in storage.patterns()}
    assert {name: pattern.frequency for name, pattern in found.items()} == {
        "[['a'], ['b']]": 3,
        "[['a'], ['c']]": 1,
    }
    assert found["[['a'], ['c']]"].metadata == {"source": ["book"]}
    assert found["[['a'], ['c']]"].emotives == FELT
    assert storage.affinities()["a"] == {"joy": 2.0}
    assert [name for _, name, _ in storage.vectors_after(0)] == ["VCTR|v"]
    storage.close()


def test_an_import_is_all_or_nothing(tmp_path: Path) -> None:
    file = tmp_path / "broken.jsonl"
    file.write_text(
        '{"kato_node": "node", "version": 1}\n'
        '{"pattern": [["a"], ["b"]], "frequency": 1}\n'
        '{"pattern"'
    )

    done = run(tmp_path / "data", "import", str(file))

    assert done.returncode == 2
    assert "line 3" in done.stderr
    storage = Storage(tmp_path / "data" / node_file("node"), "node")
    assert list(storage.patterns()) == []
    storage.close()


def test_something_else_is_not_imported(tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text("[]\n")

    assert run(tmp_path, "import", str(file)).returncode == 2
    assert run(tmp_path, "import", str(tmp_path / "absent")).returncode == 3
