"""YAML as people mean it: no word becomes a boolean, no number a time, no bomb a problem."""

import time
import tracemalloc

import pytest

from kato_manager.config.node import to_plain
from kato_manager.config.problems import Problems
from kato_manager.config.source import MAX_VALUES, read_bytes


def plain(text: str):
    problems = Problems()
    node = read_bytes(text.encode(), "x.yaml", problems)
    problems.raise_if_any()
    return to_plain(node)


def test_scalars_stay_the_text_they_are():
    text = "a: no\nb: on\nc: 0755\nd: 12:30:00\ne: 1_000\nf: 'null'\ng: null\nh: ~\ni:\nj: 1-1-1\n"

    assert plain(text) == {
        "a": "no",
        "b": "on",
        "c": "0755",
        "d": "12:30:00",
        "e": "1_000",
        "f": "null",
        "g": None,
        "h": None,
        "i": None,
        "j": "1-1-1",
    }


@pytest.mark.parametrize("word", ["no", "on", "y", "off", "0755", "12:30:00", "1e3", "null-1"])
def test_an_id_stays_the_text_that_was_typed(read, word):
    assert [spec.id for spec in read(f"instances: [{{id: {word}}}]").specs] == [word]


@pytest.mark.parametrize(
    ("text", "value"),
    [("no", False), ("off", False), ("false", False), ("yes", True), ("on", True)],
)
def test_the_words_for_booleans_all_work_where_a_boolean_is_asked(read, text, value):
    (spec,) = read(f"instances: [{{id: a, sort_symbols: {text}}}]").specs

    assert spec.settings["sort_symbols"] is value


def test_json_is_read_too(read):
    text = '{"instances": [\n\t{"id": "a", "name": "\\ud83d\\ude00 \\/", "recall_threshold": 0.3}]}'

    (spec,) = read(text).specs

    assert (spec.name, spec.settings["recall_threshold"]) == ("\N{GRINNING FACE} /", 0.3)


def test_anchors_and_merge_keys_work_as_in_compose(read):
    text = """\
x-base: &base {max_predictions: 7, persistence: 9}
x-more: &more {persistence: 8, log_level: DEBUG}
instances:
  - {<<: *base, id: a, persistence: 3}
  - {<<: [*base, *more], id: b}
"""

    first, second = read(text).specs

    assert (first.settings["max_predictions"], first.settings["persistence"]) == (7, 3)
    assert (second.settings["persistence"], second.settings["log_level"]) == (9, "DEBUG")


def test_a_mistake_behind_an_alias_is_shown_where_it_is_written(mistakes):
    text = "x-base: &base {persistence: 0}\ninstances: [{<<: *base, id: a}]\n"

    assert mistakes(text).splitlines()[0] == (
        "multi.yaml:1:29: instances[0].persistence: expected an integer from 1 to 100, not 0"
    )


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)
)
DEEP = "a: " + "[" * 5_000 + "]" * 5_000
DEEP_BLOCK = "\n".join(" " * n + "a:" for n in range(500))
LONG_KEY = "? " + "k" * 100_000 + "\n: {a: 1}"
WIDE = "a: [" + "1, " * (MAX_VALUES + 1) + "]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "values, aliases counted as written out"),
        (DEEP, "nested deeper than 50 levels"),
        (DEEP_BLOCK, "nested deeper than 50 levels"),
        (LONG_KEY, "a key of more than 500 characters"),
        (WIDE, "more than 60000 values"),
        ("a: &a [*a]", "*a names no anchor that is complete here"),
        ("a: &a {b: *a}", "*a names no anchor that is complete here"),
        ("<<: 3", "<< takes a mapping, or a list of mappings"),
        ("a: \x01", "is not YAML"),
        ("a: !!python/object:os.system x\n\t- b", "found a tab character"),
    ],
    ids=["bomb", "deep", "block", "key", "wide", "loop", "loop2", "merge", "control", "tab"],
)
def test_hostile_files_are_refused_quickly_and_with_little_memory(mistakes, text, message):
    tracemalloc.start()
    begun = time.process_time()

    told = mistakes(text)

    spent_s = time.process_time() - begun
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message in told
    assert told.startswith("multi.yaml")
    assert peak < 200 * 1024 * 1024
    assert spent_s < 5.0  # traced memory makes it several times slower


def test_tags_make_nothing(read):
    (spec,) = read("instances: [{id: a, name: !!python/object:os.system ls}]").specs

    assert spec.name == "ls"
