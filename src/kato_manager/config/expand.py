"""One entry as several instances: `replicas: N`, and a `matrix` over lists of settings.

    - id: ab                                    ab-0.05-CLEAR  ab-0.05-ROLLING  ab-0.3-CLEAR  ab-big
      matrix:
        recall_threshold: [0.05, 0.3]
        stm_mode: [CLEAR, ROLLING]
        exclude: [{recall_threshold: 0.3, stm_mode: ROLLING}]
        include: [{id: ab-big, max_predictions: 1000}]

An id may place the values itself (`id: "ab-{recall_threshold}"`), and so may a name. Replicas are
always numbered from 1, so that going from one to three leaves the first alone.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

from annotated_types import Ge

from kato_manager.config.node import Node, shown
from kato_manager.config.problems import Problems
from kato_manager.config.values import FALSE_WORDS, MISSING, TRUE_WORDS, read

MAX_INSTANCES = 10_000
MAX_PORT_DIGITS = 5
KEYS = frozenset({"matrix", "replicas"})

_WORDS = (TRUE_WORDS | FALSE_WORDS) - {"0", "1"}
Layer = Mapping[str, Node]


def expand(entry: Layer, problems: Problems) -> list[Layer]:
    """The layers to put above an entry, one per instance; one empty layer for a plain entry."""
    if not KEYS & entry.keys() or "id" not in entry or not isinstance(entry["id"].value, str):
        return [{}]
    combinations = _combinations(entry["matrix"], problems) if "matrix" in entry else [{}]
    copies = _replicas(entry["replicas"], problems) if "replicas" in entry else [""]
    if len(combinations) * len(copies) > MAX_INSTANCES:
        _too_many(entry["id"], problems)
        return []
    pairs = itertools.product(combinations, copies)
    return [_layer(entry, values, number, i) for i, (values, number) in enumerate(pairs)]


def _replicas(node: Node, problems: Problems) -> Sequence[str]:
    count = read(node, Annotated[int, Ge(0)], problems)
    if count is MISSING:
        return []
    if count > MAX_INSTANCES:
        _too_many(node, problems)
        return []
    return [str(number) for number in range(1, count + 1)]


def _too_many(node: Node, problems: Problems) -> None:
    problems.add(node, f"stands for more than {MAX_INSTANCES} instances")


def _combinations(node: Node, problems: Problems) -> list[Layer]:
    if not isinstance(node.value, Mapping):
        problems.add(node, f"expected settings with a list of values each, not {shown(node)}")
        return []
    axes = {key: one for key, one in node.items.items() if key not in {"include", "exclude"}}
    values = {key: _elements(one, "values", problems) for key, one in axes.items()}
    if math.prod(len(one) for one in values.values()) > MAX_INSTANCES:
        _too_many(node, problems)
        return []
    product = [dict(zip(values, one, strict=True)) for one in itertools.product(*values.values())]
    excluded = _rows(node.items.get("exclude"), problems)
    for row in excluded:
        for key in row.keys() - axes.keys():
            problems.unknown(row[key], key, axes, "axis of this matrix")
    kept = [one for one in product if not any(_matches(row, one) for row in excluded)]
    return [*(kept if axes else []), *_rows(node.items.get("include"), problems)]


def _elements(node: Node, what: str, problems: Problems) -> Sequence[Node]:
    if node.value is None or isinstance(node.value, str | Mapping):
        problems.add(node, f"expected a list of {what}, not {shown(node)}")
        return []
    path = node.path.replace(".matrix", "", 1)
    return [dataclasses.replace(one, path=path, key=node.key) for one in node.value]


def _rows(node: Node | None, problems: Problems) -> list[Layer]:
    rows = _elements(node, "combinations", problems) if node else []
    for one in rows:
        if not isinstance(one.value, Mapping):
            problems.add(one, f"expected keys and values, not {shown(one)}")
    return [one.items for one in rows if one.items]


def _matches(row: Layer, values: Layer) -> bool:
    return all(key in values and _label(values[key]) == _label(one) for key, one in row.items())


def _layer(entry: Layer, values: Layer, number: str, index: int) -> Layer:
    """What makes this one instance of the entry: its values, its id, its own port."""
    labels = {key: _part(key, one) for key, one in values.items()} | {"n": number}
    layer = dict(values)
    if "id" not in values:
        axes = [key for key in entry["matrix"].items if key in values] if "matrix" in entry else []
        layer["id"] = _named(entry["id"], labels, [*axes, "n"])
    elif number:
        layer["id"] = _named(values["id"], labels, ["n"])
    if "name" in entry and "name" not in values:
        layer["name"] = _named(entry["name"], labels, [])
    port = entry["port"].value if "port" in entry and "port" not in values else None
    if isinstance(port, str) and port.isascii() and port.isdigit() and len(port) <= MAX_PORT_DIGITS:
        layer["port"] = dataclasses.replace(entry["port"], value=str(int(port) + index))
    return layer


def _named(node: Node, labels: Mapping[str, str], appended: Iterable[str]) -> Node:
    """A text with `{axis}` filled in; without any such place the labels are appended."""
    if not isinstance(node.value, str):
        return node
    text = re.sub(r"\{(\w+)\}", lambda m: labels.get(m[1], m[0]), node.value)
    if text == node.value:
        text = "-".join([text, *filter(None, (labels[key] for key in appended))])
    return dataclasses.replace(node, value=text)


def _part(key: str, node: Node) -> str:
    """The value as part of an id: booleans say what is on or off."""
    text = node.value
    if isinstance(text, str) and text.lower() in _WORDS:
        return key if text.lower() in TRUE_WORDS else f"no-{key}"
    return _label(node)


def _label(node: Node) -> str:
    if node.value is None:
        return "unset"
    if isinstance(node.value, str):
        return re.sub(r"[^\w.+-]+", "-", node.value, flags=re.ASCII).strip("-.") or "empty"
    if isinstance(node.value, Mapping):
        return "-".join(f"{key}-{_label(one)}" for key, one in node.value.items())
    return "+".join(_label(one) for one in node.value) or "none"
