"""`env_file`: variables of an entry that stand in files."""

import pytest


def test_the_variables_lie_below_the_entrys_own(read, folder):
    (folder / "own.env").write_text("A=file\nexport B='x $y'\n# a comment\nC=${HERE}-c\n")

    document = read(
        "instances:\n  - {id: a, env_file: own.env, env: {A: entry}}\n", environ={"HERE": "here"}
    )

    assert document.specs[0].env == {"A": "entry", "B": "x $y", "C": "here-c"}


def test_later_files_win_and_one_may_be_missing(read, folder):
    (folder / "one.env").write_text("A=1\nB=1\n")
    (folder / "two.env").write_text("B=2\n")

    document = read(
        "instances:\n"
        "  - id: a\n"
        "    env_file:\n"
        "      - one.env\n"
        "      - {path: gone.env, required: false}\n"
        "      - path: two.env\n"
    )

    assert document.specs[0].env == {"A": "1", "B": "2"}


def test_files_of_lower_layers_lie_below(read, folder):
    for name in ("shared", "group", "base", "own"):
        (folder / f"{name}.env").write_text(f"ALL={name}\n{name.upper()}=1\n")

    document = read(
        "shared: {env_file: shared.env, environment: [ALL=shared]}\n"
        "groups: {g: {env_file: group.env}}\n"
        "instances:\n"
        "  base: {env_file: base.env, env: {ALL: said}}\n"
        "  a: {extends: base, group: g, env_file: own.env}\n"
    )

    assert document.specs[1].env == {
        "ALL": "own",
        "SHARED": "1",
        "GROUP": "1",
        "BASE": "1",
        "OWN": "1",
    }


def test_paths_are_relative_to_the_file_that_names_them(read, folder):
    (folder / "below").mkdir()
    (folder / "below" / "own.env").write_text("A=below\n")
    (folder / "below" / "base.yaml").write_text("instances: [{id: a, env_file: own.env}]\n")

    document = read("include: below/base.yaml\ninstances: [{id: a, env: {B: '1'}}]\n")

    assert document.specs[0].env == {"A": "below", "B": "1"}


def test_changed_variables_are_a_change_of_the_instance(read, folder):
    text = "instances: [{id: a, env_file: own.env}]\n"
    (folder / "own.env").write_text("A=1\n")
    before = read(text).specs[0]
    (folder / "own.env").write_text("A=2\n")

    assert read(text).specs[0].fingerprint != before.fingerprint


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("gone.env", "multi.yaml:1:31: instances[0].env_file: gone.env: no such file"),
        ("bad.env", "multi.yaml:1:31: instances[0].env_file: bad.env:2: "),
        ("folder", "instances[0].env_file: folder: cannot be read: is a directory"),
        ("[own.env, {file: x}]", "multi.yaml:1:41: instances[0].env_file[1]: expected files, each"),
        ("{path: own.env, required: maybe}", "instances[0].env_file: expected files, each"),
        ("[[own.env]]", "instances[0].env_file[0]: expected files, each a path or {path: own.env"),
    ],
)
def test_a_mistake_is_shown_where_it_stands(mistakes, folder, value, said):
    (folder / "folder").mkdir()
    (folder / "own.env").write_text("A=1\n")
    (folder / "bad.env").write_text("A=1\nno variable\n")

    assert said in mistakes(f"instances: [{{id: a, env_file: {value}}}]\n")
