"""Variables follow the Compose rules."""

import re

import pytest

from kato_manager.config.interpolate import interpolate, read_env

VARIABLES = {"SET": "value", "EMPTY": "", "HARD": "a$b{c}"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$SET", "value"),
        ("${SET}", "value"),
        ("a-$SET-b", "a-value-b"),
        ("$SET$SET", "valuevalue"),
        ("$$SET", "$SET"),
        ("$$$$", "$$"),
        ("${SET:-d}", "value"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${GONE:-d}", "d"),
        ("${GONE-d}", "d"),
        ("${GONE:-}", ""),
        ("${GONE:-a b: c}", "a b: c"),
        ("${GONE:-${SET}}", "value"),
        ("${GONE:-${GONE:-${EMPTY:-deep}}}", "deep"),
        ("${GONE:-{}}", "{}"),
        ("${SET:+other}", "other"),
        ("${EMPTY:+other}", ""),
        ("${EMPTY+other}", "other"),
        ("${GONE+other}", ""),
        ("${SET:?message}", "value"),
        ("${EMPTY?message}", ""),
        ("${HARD}", "a$b{c}"),
    ],
)
def test_each_form_of_a_variable(text, expected):
    assert interpolate(text, VARIABLES, lambda _: None) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${GONE:?say it}", "the variable GONE is required: say it"),
        ("${GONE?}", "the variable GONE is required"),
        ("${EMPTY:?no ${SET}}", "the variable EMPTY is required: no value"),
        ("$", "a lone $ is no variable, write $$ for a dollar sign"),
        ("$1", "a lone $ is no variable, write $$ for a dollar sign"),
        ("${SET", "${ without its }"),
        ("${}", "${} is no variable, write $$ for a dollar sign"),
        ("${a b}", "${a b} is no variable, write $$ for a dollar sign"),
        ("${GONE:-" * 30 + "}" * 30, "variables nested deeper than 10"),
    ],
)
def test_what_is_no_variable_is_said(text, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        interpolate(text, VARIABLES, lambda _: None)


def test_variables_cannot_fill_the_memory():
    with pytest.raises(ValueError, match="longer than"):
        interpolate("$BIG" * 100, {"BIG": "x" * 100_000}, lambda _: None)


def test_a_variable_without_value_counts_as_empty_and_is_told(read):
    document = read("instances: [{id: a, env: {A: $GONE, B: '${GONE}x'}}]")

    assert document.specs[0].env == {"A": "", "B": "x"}
    assert [str(warning) for warning in document.warnings] == [
        "multi.yaml: the variable GONE is not set, it counts as empty"
    ]


def test_a_number_may_come_from_a_variable_or_be_left_open_by_it(read):
    text = "instances: [{id: a, port: '${PORT}', recall_threshold: '${R:-0.4}'}]"

    assert read(text, environ={"PORT": "9000"}).specs[0].port == 9000
    assert read(text, environ={"PORT": ""}).specs[0].port is None
    assert read(text).specs[0].settings["recall_threshold"] == 0.4


def test_the_env_file_beside_the_file_is_read_and_the_environment_beats_it(read, folder):
    (folder / ".env").write_text("A=file\nB=file\n")

    (spec,) = read("instances: [{id: a, env: {A: $A, B: $B}}]", environ={"B": "shell"}).specs

    assert spec.env == {"A": "file", "B": "shell"}


def test_another_env_file_may_be_named(read, folder):
    (folder / ".env").write_text("A=wrong\n")
    (folder / "other.env").write_text("A=right\n")

    (spec,) = read("instances: [{id: a, env: {A: $A}}]", env_file="other.env").specs

    assert spec.env == {"A": "right"}


def test_a_wrong_line_of_the_env_file_is_named(mistakes, folder):
    (folder / ".env").write_text("A=1\nnonsense\n")

    assert mistakes("instances: [{id: a}]") == (
        f"{folder}/.env:2: expected NAME=value, not 'nonsense'"
    )


def test_the_lines_of_an_env_file_are_read_as_compose_does():
    text = """\
# comment
PLAIN=a b # comment
export EXPORTED=x
QUOTED="a # b\\n$BASE"
LITERAL='a $BASE'
HASH=a#b
EMPTY=
  COLON: a:b
KEY="-----BEGIN
  abc=

-----END"  # of two lines, and more
LINES='one
two # $BASE'
CHAINED=${PLAIN}-$BASE
"""

    assert read_env(text, {"BASE": "base"}) == {
        "PLAIN": "a b",
        "EXPORTED": "x",
        "QUOTED": "a # b\nbase",
        "LITERAL": "a $BASE",
        "HASH": "a#b",
        "EMPTY": "",
        "COLON": "a:b",
        "KEY": "-----BEGIN\n  abc=\n\n-----END",
        "LINES": "one\ntwo # $BASE",
        "CHAINED": "a b-base",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('A=1\n\nB="x\nC=2\n', '3: " without its end'),
        ("A='x' y", "1: 'y' after the closing quote"),
        ("A='\n\n'\nB=${X:?give it}", "4: the variable X is required: give it"),
        ("A=1\n=2", "2: expected NAME=value, not '=2'"),
        ("export A", "1: expected NAME=value, not 'export A'"),
    ],
)
def test_a_mistake_in_an_env_file_is_told_with_its_line(text, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        read_env(text, {})


def test_an_env_file_of_another_system_is_read(read, folder):
    (folder / ".env").write_bytes(b"\xef\xbb\xbfA=1\r\nB='2'\r\n")

    assert read("instances: [{id: a, env: {A: $A, B: $B}}]").specs[0].env == {"A": "1", "B": "2"}
