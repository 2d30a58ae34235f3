"""Layers, groups, profiles, replicas and matrices: one file, many instances."""

import pytest


def settings(document, name):
    return {spec.id: spec.settings[name] for spec in document.specs}


def test_a_mapping_by_id_is_the_same_as_a_list(read):
    listed = read("instances: [{id: a, port: 9000}, {id: b}]")
    mapped = read("instances: {a: {port: 9000}, b: }")

    assert mapped.specs == listed.specs


def test_later_layers_win(read):
    text = """\
shared: {persistence: 2, max_predictions: 2, recall_threshold: 0.2, log_level: DEBUG}
groups:
  g: {max_predictions: 3, recall_threshold: 0.3}
instances:
  - {id: base, group: g, recall_threshold: 0.4, port: 9000, profiles: [never]}
  - {id: a, extends: base, stm_mode: ROLLING, session_ttl: null}
"""

    (spec,) = read(text).specs

    assert spec.id == "a"
    assert spec.port is None  # a port belongs to one instance
    assert spec.group == "g"
    wanted = {
        "log_level": "DEBUG",
        "persistence": 2,
        "max_predictions": 3,
        "recall_threshold": 0.4,
        "stm_mode": "ROLLING",
        "session_ttl": 3600,
    }
    assert {key: spec.settings[key] for key in wanted} == wanted


def test_settings_env_and_labels_are_merged_key_by_key_and_lists_replaced(read):
    text = """\
shared: {env: {A: "1", B: "1"}, labels: {x: "1"}, volumes: ["v:/v"], settings: {persistence: 2}}
instances: [{id: a, env: [B=2], labels: {y: "2"}, volumes: ["w:/w"], max_predictions: 3}]
"""

    (spec,) = read(text).specs

    assert spec.env == {"A": "1", "B": "2"}
    assert spec.labels == {"x": "1", "y": "2"}
    assert spec.volumes == ("w:/w",)
    assert (spec.settings["persistence"], spec.settings["max_predictions"]) == (2, 3)


def test_an_alias_in_one_layer_overrides_the_name_in_another(read):
    text = "shared: {max_pattern_length: 3}\ninstances: [{id: a, max_seq_length: 4}, {id: b}]"

    assert settings(read(text), "max_pattern_length") == {"a": 4, "b": 3}


def test_several_files_are_merged_instance_by_instance(read):
    document = read(
        "shared: {persistence: 2}\ninstances: [{id: a, max_predictions: 3}, {id: b}]",
        "shared: {log_level: DEBUG}\ninstances: {b: {max_predictions: 5}, c: }",
    )

    assert settings(document, "max_predictions") == {"a": 3, "b": 5, "c": 100}
    assert settings(document, "persistence") == {"a": 2, "b": 2, "c": 2}
    assert settings(document, "log_level") == {"a": "DEBUG", "b": "DEBUG", "c": "DEBUG"}


def test_a_group_may_just_list_its_members(read):
    document = read("groups: {g: [a, w-2]}\ninstances: [{id: a}, {id: b}, {id: w, replicas: 2}]")

    assert {spec.id: spec.group for spec in document.specs} == {
        "a": "g",
        "b": "",
        "w-1": "",
        "w-2": "g",
    }


def test_an_entry_of_another_file_can_be_extended(read, folder):
    (folder / "base.yaml").write_text("instances: [{id: big, max_predictions: 1000}]")

    document = read("instances: [{id: a, extends: {file: base.yaml, instance: big}}]")

    assert settings(document, "max_predictions") == {"a": 1000}


def test_included_files_lie_below_each_read_once_from_where_it_is_named(read, folder):
    (folder / "parts").mkdir()
    (folder / "parts/a.yaml").write_text(
        "include: b.yaml\ninstances: [{id: a, persistence: 3, max_predictions: 3}]"
    )
    (folder / "parts/b.yaml").write_text(
        "shared: {recall_threshold: 0.2}\ninstances: [{id: b}, {id: a, persistence: 2}]"
    )

    document = read(
        "include: [parts/a.yaml, parts/b.yaml]\ninstances: [{id: a, max_predictions: 4}]"
    )

    assert settings(document, "recall_threshold") == {"b": 0.2, "a": 0.2}
    assert settings(document, "persistence") == {"b": 5, "a": 3}
    assert settings(document, "max_predictions") == {"b": 100, "a": 4}
    assert document.origin == str(folder / "multi.yaml")


def test_files_that_include_one_another_or_do_not_exist_are_mistakes(mistakes, folder):
    (folder / "a.yaml").write_text("include: [multi.yaml]")

    assert (
        mistakes("include: [a.yaml, gone.yaml]")
        == """\
gone.yaml: cannot be read: no such file or directory
a.yaml:1:11: include[0]: the files include one another
    1 | include: [multi.yaml]
      |           ^^^^^^^^^^"""
    )
    assert (
        mistakes("include: {a: b}")
        == """\
multi.yaml:1:10: include: expected a list of files
    1 | include: {a: b}
      |          ^^"""
    )


def test_a_template_of_the_file_itself_extends_a_known_one(read):
    text = """\
templates:
  big: {extends: kato, image: big:1, settings: {depth: {type: integer, minimum: 1, env: DEPTH}}}
instances: [{id: a, template: big, depth: 3, recall_threshold: 0.3}]
"""

    (spec,) = read(text).specs

    assert spec.template == "big"
    assert spec.launch.image == "big:1"
    assert spec.launch.command[1:3] == ("-m", "kato_processor")
    assert spec.launch.environment["DEPTH"] == "3"


def test_a_shared_setting_is_for_the_templates_that_know_it(read, mistakes):
    text = """\
shared: {recall_threshold: 0.2, settings: {persistence: 2}}
instances: [{id: a}, {id: web, template: http-service, image: nginx}]
"""

    known, unknown = read(text).specs

    assert (known.settings["recall_threshold"], known.settings["persistence"]) == (0.2, 2)
    assert unknown.settings == {}
    assert "unknown setting" in mistakes(text.replace("persistence", "persistance"))
    assert "unknown setting" in mistakes(text.replace("nginx", "nginx, recall_threshold: 1"))


def test_profiles_choose_what_is_there(read):
    text = "instances: [{id: a}, {id: b, profiles: [dev, test]}, {id: c, profiles: prod}]"

    assert [spec.id for spec in read(text).specs] == ["a"]
    assert [spec.id for spec in read(text, profiles=["test"]).specs] == ["a", "b"]
    assert read(text).named == {"a", "b", "c"}


def test_depending_on_what_another_profile_has_is_a_mistake(mistakes):
    told = mistakes("instances: [{id: a, depends_on: [b]}, {id: b, profiles: [dev]}]")

    assert 'depends_on[0]: "b" is only there with --profile dev' in told


def test_replicas_are_numbered_from_one_each_with_its_port(read):
    document = read("instances: [{id: w, replicas: 3, port: 9000}, {id: a, depends_on: w}]")

    assert [(spec.id, spec.port) for spec in document.specs] == [
        ("w-1", 9000),
        ("w-2", 9001),
        ("w-3", 9002),
        ("a", None),
    ]
    assert document.specs[-1].depends_on == ("w-1", "w-2", "w-3")


def test_scaling_leaves_the_first_ones_alone(read):
    one = read("instances: [{id: w, replicas: 1}]").specs
    three = read("instances: [{id: w, replicas: 3}]").specs

    assert three[:1] == one
    assert read("instances: [{id: w, replicas: 0}]").specs == ()


def test_an_ab_set_is_three_lines(read):
    text = """\
instances:
  - id: ab
    matrix: {recall_threshold: [0.05, 0.5]}
"""

    assert settings(read(text), "recall_threshold") == {"ab-0.05": 0.05, "ab-0.5": 0.5}


def test_a_matrix_combines_its_axes_without_the_excluded_and_with_the_included(read):
    text = """\
instances:
  - id: ab
    max_predictions: 10
    matrix:
      recall_threshold: [0.1, 0.3]
      sort_symbols: [yes, no]
      exclude:
        - {recall_threshold: 0.3, sort_symbols: no}
      include:
        - {id: ab-wild, max_predictions: 1000}
"""

    document = read(text)

    assert settings(document, "recall_threshold") == {
        "ab-0.1-sort_symbols": 0.1,
        "ab-0.1-no-sort_symbols": 0.1,
        "ab-0.3-sort_symbols": 0.3,
        "ab-wild": 0.1,
    }
    assert settings(document, "max_predictions")["ab-wild"] == 1000


def test_numbers_stand_in_ids_as_they_are_and_booleans_by_name(read):
    text = "instances: [{id: ab, matrix: {persistence: [1, 2], sort_symbols: [on, off]}}]"

    assert [spec.id for spec in read(text).specs] == [
        "ab-1-sort_symbols",
        "ab-1-no-sort_symbols",
        "ab-2-sort_symbols",
        "ab-2-no-sort_symbols",
    ]


def test_an_id_may_place_the_values_itself(read):
    text = """\
instances:
  - id: "r{recall_threshold}-{n}"
    name: "Recall {recall_threshold}"
    replicas: 2
    matrix: {recall_threshold: [0.1]}
"""

    assert [(spec.id, spec.name) for spec in read(text).specs] == [
        ("r0.1-1", "Recall 0.1"),
        ("r0.1-2", "Recall 0.1"),
    ]


def test_a_wrong_value_of_a_matrix_is_shown_where_it_is_written(mistakes):
    text = "instances:\n  - id: ab\n    matrix: {recall_threshold: [0.1, 3]}\n"

    assert mistakes(text).splitlines()[0] == (
        "multi.yaml:3:38: instances[0].recall_threshold: expected a number from 0 to 1, not 3"
    )


def test_a_product_too_large_is_refused_before_it_is_made(mistakes):
    values = list(range(1, 100))
    axes = dict.fromkeys(("persistence", "max_predictions", "minhash_bands"), values)

    assert "stands for more than 10000 instances" in mistakes(
        str({"instances": [{"id": "a", "matrix": axes}]})
    )


def test_extension_keys_are_ignored_everywhere(read):
    text = "x-a: 1\nshared: {x-b: 2}\ninstances: [{id: a, x-c: {deep: [1]}, settings: {x-d: 1}}]"

    assert [spec.id for spec in read(text).specs] == ["a"]


def test_relative_volumes_are_relative_to_the_file(read, folder):
    (spec,) = read("instances: [{id: a, volumes: ['./data:/d:ro', 'named:/n', '/abs:/a']}]").specs

    assert spec.volumes == (f"{folder}/data:/d:ro", "named:/n", "/abs:/a")


@pytest.mark.parametrize(
    ("entry", "field", "value"),
    [
        ("grace: 1m30s", "grace_s", 90.0),
        ("grace_s: 250ms", "grace_s", 0.25),
        ("idle_timeout: 2h", "idle_timeout_s", 7200.0),
        ("ready_timeout: 5", "ready_timeout_s", 5.0),
    ],
)
def test_durations_may_have_units(read, entry, field, value):
    (spec,) = read(f"instances: [{{id: a, {entry}}}]").specs

    assert getattr(spec, field) == value


@pytest.mark.parametrize(
    ("text", "size"), [("512m", 2**29), ("1.5GiB", 3 * 2**29), ("8388608", 2**23)]
)
def test_sizes_may_have_units(read, text, size):
    (spec,) = read(f"instances: [{{id: a, limits: {{memory: {text}}}}}]").specs

    assert spec.limits.memory_bytes == size


def test_an_empty_file_names_no_instances(read):
    assert read("").specs == ()
    assert read("instances:").specs == ()
