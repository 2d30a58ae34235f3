"""Mistakes are told like a good compiler does: the place, the line, what was meant, all at once."""

import pytest


def test_a_misspelt_setting_is_shown_where_it_stands(mistakes):
    text = """\
instances:
  - id: a
  - id: b
    name: "Second"
    recal_threshold: 0.3
"""

    assert mistakes(text) == (
        "multi.yaml:5:5: instances[1].recal_threshold: unknown setting,"
        ' did you mean "recall_threshold"?\n'
        "    5 |     recal_threshold: 0.3\n"
        "      |     ^^^^^^^^^^^^^^^"
    )


def test_every_mistake_of_a_file_is_told_at_once_and_in_its_order(mistakes):
    text = """\
instances:
  - id: a
    recall_threshold: 1.5
    prot: 8001
  - id: a
  - {id: api, max_predictions: many, stm_mode: ROLING}
  - name: nobody
    depends_on: [b]
instancs: []
"""

    assert (
        mistakes(text)
        == """\
multi.yaml:3:23: instances[0].recall_threshold: expected a number from 0 to 1, not 1.5
    3 |     recall_threshold: 1.5
      |                       ^^^
multi.yaml:4:5: instances[0].prot: unknown setting, did you mean "port"?
    4 |     prot: 8001
      |     ^^^^
multi.yaml:5:9: instances[1].id: "a" is already an instance at multi.yaml:2:9
    5 |   - id: a
      |         ^
multi.yaml:6:10: instances[2].id: "api" is reserved for the gateway's own paths
    6 |   - {id: api, max_predictions: many, stm_mode: ROLING}
      |          ^^^
multi.yaml:6:32: instances[2].max_predictions: expected an integer from 1 to 10000, not "many"
    6 |   - {id: api, max_predictions: many, stm_mode: ROLING}
      |                                ^^^^
multi.yaml:6:48: instances[2].stm_mode: expected one of CLEAR, ROLLING, not "ROLING"
    6 |   - {id: api, max_predictions: many, stm_mode: ROLING}
      |                                                ^^^^^^
multi.yaml:7:5: instances[3]: the instance has no id, give it one: "id: my-processor"
    7 |   - name: nobody
      |     ^^^^
multi.yaml:9:1: instancs: unknown section, did you mean "instances"?
    9 | instancs: []
      | ^^^^^^^^"""
    )


def test_duplicate_keys_are_refused_with_both_places(mistakes):
    text = "instances:\n  - id: a\n    port: 8001\n    port: 8002\n"

    assert mistakes(text).splitlines()[0] == (
        "multi.yaml:4:5: instances[0].port: duplicate key, first given at line 3, column 5"
    )


def test_one_setting_under_two_of_its_names_is_refused(mistakes):
    text = "instances:\n  - id: a\n    max_seq_length: 3\n    settings: {max_pattern_length: 4}\n"

    assert mistakes(text).splitlines()[0] == (
        "multi.yaml:4:16: instances[0].settings.max_pattern_length:"
        " given twice, first as instances[0].max_seq_length"
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("port: 80", "instances[0].port: expected an integer from 1024 to 65535, not 80"),
        ("port: true", 'instances[0].port: expected an integer from 1024 to 65535, not "true"'),
        (
            "persistence: 2.5",
            "instances[0].persistence: expected an integer from 1 to 100, not 2.5",
        ),
        (
            "persistence: 101",
            "instances[0].persistence: expected an integer from 1 to 100, not 101",
        ),
        (
            "max_seq_length: -1",
            "instances[0].max_seq_length: expected an integer of at least 0, not -1",
        ),
        (
            "sort_symbols: maybe",
            'instances[0].sort_symbols: expected true or false, not "maybe"',
        ),
        (
            "recall_threshold: [1]",
            "instances[0].recall_threshold: expected a number from 0 to 1, not a list",
        ),
        (
            "filter_pipeline: [minhash, magic]",
            (
                "instances[0].filter_pipeline[1]: expected one of minhash, length, jaccard, bloom,"
                ' rapidfuzz, not "magic"'
            ),
        ),
        (
            "health: {pth: /}",
            'instances[0].health.pth: unknown setting, did you mean "path"?',
        ),
        ("limits: {cpus: 0}", "instances[0].limits.cpus: expected a number over 0, not 0"),
        (
            "limits: {memory: 1k}",
            "instances[0].limits.memory: expected a size such as 512m, of at least 6m, not 1024",
        ),
        ("limits: {cpu: 1}", 'instances[0].limits.cpu: unknown setting, did you mean "cpus"?'),
        (
            "limits: {gpus: some}",
            'instances[0].limits.gpus: expected all, a count, or device=0,1, not "some"',
        ),
        ("env: 5", "instances[0].env: expected keys and values, not 5"),
        ("env: {A=B: c}", "instances[0].env.A=B: is no name of an environment variable"),
        ("name: [x]", "instances[0].name: expected text, not a list"),
        ('name: "a\\0b"', 'instances[0].name: expected text, not "a\\u0000b"'),
        (
            "recall_threshold: .nan",
            'instances[0].recall_threshold: expected a number from 0 to 1, not ".nan"',
        ),
        (
            "recall_threshold: 1e999",
            "instances[0].recall_threshold: expected a number from 0 to 1, not 1e999",
        ),
        ("template: nope", "instances[0].template: no template 'nope'"),
        ("depends_on: [z]", 'instances[0].depends_on[0]: unknown instance "z"'),
        ("depends_on: a", "instances[0].depends_on: they wait for each other: a -> a"),
        ("extends: z", "instances[0].extends: unknown instance to extend"),
        ("extends: a", "instances[0].extends: entries extend one another, or more than 20 deep"),
        ("replicas: -1", "instances[0].replicas: expected an integer of at least 0, not -1"),
        ("replicas: 99999", "instances[0].replicas: stands for more than 10000 instances"),
        (
            "matrix: {persistence: 3}",
            "instances[0].matrix.persistence: expected a list of values, not 3",
        ),
    ],
)
def test_a_value_that_cannot_be_says_what_can(mistakes, entry, message):
    told = mistakes(f"instances:\n  - id: a\n    {entry}\n")

    places, texts = zip(
        *(line.split(": ", 1) for line in told.splitlines() if line.startswith("multi.yaml:")),
        strict=True,
    )
    assert texts == (message,)
    assert all(place.startswith("multi.yaml:3:") for place in places)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "instances: [",
            "multi.yaml:1:13: did not find expected node content while parsing a flow node",
        ),
        ("a: b: c", "multi.yaml:1:5: mapping values are not allowed in this context"),
        (
            "instances: *nope",
            "multi.yaml:1:12: instances: *nope names no anchor that is complete here",
        ),
        ("a: 1\n---\nb: 2\n", "multi.yaml:3:1: a second document; one file holds one"),
        ("? [a]\n: b\n", "multi.yaml:1:3: a key must be a text"),
        (
            "- a\n",
            "multi.yaml:1:1: expected sections (instances, shared, groups, templates), not a list",
        ),
        ("instances: yes", 'multi.yaml:1:12: instances: expected a list of instances, not "yes"'),
        ("instances: [a]", 'multi.yaml:1:13: instances[0]: expected keys and values, not "a"'),
        ("instances: {a: b}", 'multi.yaml:1:16: instances.a: expected keys and values, not "b"'),
        ("shared: 3", "multi.yaml:1:9: shared: expected keys and values, not 3"),
        ("groups: {g: 3}", "multi.yaml:1:13: groups.g: expected a list of ids, or keys and values"),
        (
            "groups: {g: [b]}\ninstances: [{id: a}]",
            'multi.yaml:1:14: groups.g[0]: unknown instance "b"',
        ),
        (
            "groups: {a: [b]}\ninstances: [{id: a}, {id: b}]",
            'multi.yaml:1:14: groups.a[0]: "a" is the id of an instance at multi.yaml:2:18',
        ),
        (
            "instances: [{id: a, port: 9000}, {id: b, port: 9000}]",
            "multi.yaml:1:48: instances[1].port: 9000 is also the port of a at multi.yaml:1:27",
        ),
        (
            "instances: [{id: a}, {id: A}]",
            (
                'multi.yaml:1:27: instances[1].id: "A" is also a at multi.yaml:1:18,'
                " which differs only in case"
            ),
        ),
    ],
)
def test_a_file_that_cannot_be_names_the_place(mistakes, text, message):
    assert [one for one in mistakes(text).splitlines() if one[0] != " "] == [message]


def test_a_missing_file_is_named(mistakes, read, folder):
    assert "gone.yaml: cannot be read: no such file or directory" in mistakes(
        "instances: [{id: a, extends: {file: gone.yaml, instance: b}}]"
    )


def test_bytes_that_are_no_text_have_a_place(folder, mistakes, read):
    (folder / "bad.yaml").write_bytes(b"instances:\n  - id: \xff\n")

    told = mistakes("instances: [{id: a, extends: {file: bad.yaml, instance: b}}]")

    assert "bad.yaml:2:9: this byte is not UTF-8 text" in told


def test_a_circle_of_dependencies_is_spelt_out(mistakes):
    text = """\
instances:
  - {id: a, depends_on: [b]}
  - {id: b, depends_on: [c]}
  - {id: c, depends_on: [a]}
"""

    assert mistakes(text).splitlines()[0] == (
        "multi.yaml:2:25: instances[0].depends_on: they wait for each other: a -> b -> c -> a"
    )
