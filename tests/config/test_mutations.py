"""300 broken files: each is read, or refused with a place; never a traceback, never slow."""

import random
import resource
import time

import pytest

from kato_manager.errors import ConfigError

SEED = 20_240_101
COUNT = 300
VALID = """\
shared: &shared
  log_level: DEBUG
  env: {A: "1", B: "${HOME:-x}"}
groups:
  nlp: {labels: {team: text}, max_predictions: 20}
templates:
  big: {extends: kato, image: "big:1", settings: {depth: {type: integer, minimum: 1}}}
instances:
  - id: sentiment-analyzer
    name: "Sentiment Analysis"
    port: 8001
    group: nlp
    recall_threshold: 0.3
    filter_pipeline: [minhash, length]
    limits: {cpus: 0.5, memory: 512m}
  - id: ab
    extends: sentiment-analyzer
    depends_on: [sentiment-analyzer]
    matrix: {recall_threshold: [0.1, 0.5], sort_symbols: [yes, no]}
  - {id: w, template: big, replicas: 3, depth: 2, grace: 5s, health: /health}
"""
ODD = [
    "\u202e", "\u0000", "\ufeff", "\ud7ff", "\U0001f600", "\u2028", "\x85", "\x1b[31m", "'", '"',
    "{", "}", "[", "]", ":", "- ", "#", "&a ", "*a ", "*shared", "<<: ", "!!int ", "%", "@", "`",
    "|", ">", "\t", "\r", "$", "${", "${X:?no}", "$$", "~", "null", "no", "---", "...", "? ",
]  # fmt: skip
HUGE = ["9" * 400, "1e999", "-1e-999", "0x" + "f" * 50, ".inf", ".nan", "1" * 5000, "1_000"]
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


def insert_odd(text: str, chance: random.Random) -> str:
    place = chance.randrange(len(text) + 1)
    return text[:place] + chance.choice(ODD) + text[place:]


def cut(text: str, chance: random.Random) -> str:
    place = chance.randrange(len(text) + 1)
    return text[:place] + text[place + chance.randint(1, 20) :]


def change_value(line: str, chance: random.Random) -> str:
    key = line.split(":", maxsplit=1)[0]
    return f"{key}: {chance.choice([*HUGE, *ODD, '[]', '{}', '[1, {a: b}]'])}"


def break_key(line: str, chance: random.Random) -> str:
    return line.replace(":", chance.choice(["x:", " ", "::", ""]), 1)


def twice(line: str, _: random.Random) -> str:
    return f"{line}\n{line}"


def indent(line: str, chance: random.Random) -> str:
    return " " * chance.randint(0, 9) + line.lstrip()


def prepend(text: str, chance: random.Random) -> str:
    return chance.choice([BOMB, "[" * chance.randint(1, 5000), "a: " * 500]) + text


def replace_word(text: str, chance: random.Random) -> str:
    return text.replace(chance.choice(["id", "3", "text", "x"]), chance.choice(HUGE + ODD))


def shuffle(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    chance.shuffle(lines)
    return "\n".join(lines)


OF_TEXT = [insert_odd, cut, prepend, replace_word, shuffle]
OF_LINE = [change_value, break_key, twice, indent]


def mutated(text: str, chance: random.Random) -> str:
    for _ in range(chance.randint(1, 4)):
        mutation = chance.choice(OF_TEXT + OF_LINE)
        if mutation in OF_TEXT:
            text = mutation(text, chance)
            continue
        lines = text.split("\n")
        at = chance.randrange(len(lines))
        lines[at] = mutation(lines[at], chance)
        text = "\n".join(lines)
    return text


def problems_of(read, text: str) -> tuple[str, ...]:
    try:
        read(text.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
    except ConfigError as error:
        return error.problems
    return ()


@pytest.fixture(scope="module")
def cases() -> list[str]:
    chance = random.Random(SEED)
    return [mutated(VALID, chance) for _ in range(COUNT)]


def test_the_file_that_is_broken_here_is_whole(read):
    assert len(read(VALID).specs) == 8


def test_broken_files_are_refused_with_a_place_and_quickly(read, cases):
    refused, slowest_s = 0, 0.0
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    for case in cases:
        begun = time.process_time()
        problems = problems_of(read, case)
        slowest_s = max(slowest_s, time.process_time() - begun)
        refused += bool(problems)
        assert all(one.startswith("multi.yaml:") for one in problems), case

    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    assert refused > COUNT // 2
    assert slowest_s < 1.0
    assert grown_kb < 200 * 1024
