"""Turns the user's text into the type a field declares; the constraints live in that type.

Written by hand for `kato start`: pydantic takes longer to import than all of the rest together.
`schema` derives the JSON Schema from the very same types with pydantic.
"""

import math
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, Unit

from kato_manager.config.node import Node, shown
from kato_manager.config.problems import Problems

MISSING: Any = object()
TRUE_WORDS = frozenset({"true", "yes", "on", "1"})
FALSE_WORDS = frozenset({"false", "no", "off", "0"})
MAX_DIGITS = 300

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE | re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_IN_UNIT = {"s": "a duration such as 30s or 10m", "B": "a size such as 512m"}
_MIB = 1024 * 1024
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


@cache
def fields_of(kind: type) -> Mapping[str, Any]:
    """The declared type of each field, constraints included."""
    return get_type_hints(kind, include_extras=True)


def read(node: Node, hint: Any, problems: Problems) -> Any:
    """The value as `hint` declares it; `MISSING` when it cannot be, which is then reported."""
    base, constraints = _unwrapped(hint)
    if _is_union(base):
        return None if node.value is None else read(node, _not_none(base), problems)
    if isinstance(base, type) and is_dataclass(base):
        return base(**read_fields(node, fields_of(base), problems))
    if get_origin(base) is tuple:
        return _read_tuple(node, get_args(base)[0], problems)
    if get_origin(base) is Mapping:
        return _read_mapping(node, get_args(base)[1], problems)
    value = _scalar(node, base)
    if value is MISSING or not all(_holds(one, value) for one in constraints):
        problems.add(node, f"expected {wanted(hint)}, not {shown(node)}")
        return MISSING
    return value


def read_fields(node: Node, hints: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    """Each known key of a mapping; keys without a value are left out."""
    if not isinstance(node.value, Mapping):
        problems.add(node, f"expected keys and values, not {shown(node)}")
        return {}
    values = {}
    for key, one in node.value.items():
        if key not in hints:
            problems.unknown(one, key, hints)
        elif is_given(one, hints[key]) and (v := read(one, hints[key], problems)) is not MISSING:
            values[key] = v
    return values


def is_given(node: Node, hint: Any) -> bool:
    """Whether there is a value; a variable that came out empty is none, except as a text."""
    return node.value is not None and (node.value != "" or _not_none(_unwrapped(hint)[0]) is str)


def _read_tuple(node: Node, hint: Any, problems: Problems) -> Any:
    if isinstance(node.value, Mapping) or node.value is None:
        problems.add(node, f"expected a list, not {shown(node)}")
        return MISSING
    elements = (node,) if isinstance(node.value, str) else node.value
    return tuple(v for one in elements if (v := read(one, hint, problems)) is not MISSING)


def _read_mapping(node: Node, hint: Any, problems: Problems) -> Any:
    if not isinstance(node.value, Mapping):
        problems.add(node, f"expected keys and values, not {shown(node)}")
        return MISSING
    given = {key: one for key, one in node.value.items() if one.value is not None}
    pairs = ((key, read(one, hint, problems)) for key, one in given.items())
    return {key: value for key, value in pairs if value is not MISSING}


def _scalar(node: Node, base: Any) -> Any:
    text = node.value
    if not isinstance(text, str):
        return MISSING
    if get_origin(base) is Literal:
        return text if text in get_args(base) else MISSING
    return _READERS[base](text)


def _text(text: str) -> Any:
    try:
        text.encode()  # half of a surrogate pair cannot be written anywhere
    except UnicodeEncodeError:
        return MISSING
    return MISSING if "\0" in text else text


def _boolean(text: str) -> Any:
    word = text.strip().lower()
    return True if word in TRUE_WORDS else False if word in FALSE_WORDS else MISSING


def _number(text: str) -> Any:
    try:
        value = float(text) if len(text) <= MAX_DIGITS else math.nan
    except ValueError:
        return MISSING
    return value if math.isfinite(value) else MISSING


def _integer(text: str) -> Any:
    if re.fullmatch(rf"[+-]?[0-9]{{1,{MAX_DIGITS}}}", text.strip()):
        return int(text)
    value = _number(text)
    return int(value) if value is not MISSING and value == int(value) else MISSING


_READERS = {str: _text, bool: _boolean, int: _integer, float: _number}


def _unwrapped(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    if get_origin(hint) is Annotated:
        base, *constraints = get_args(hint)
        return base, tuple(constraints)
    return hint, ()


def _is_union(base: Any) -> bool:
    return get_origin(base) in {Union, types.UnionType}


def _not_none(hint: Any) -> Any:
    """What an optional type is when it is given; any other type as it is."""
    if not _is_union(hint):
        return hint
    return next(one for one in get_args(hint) if one is not type(None))


def _holds(constraint: Any, value: Any) -> bool:
    match constraint:
        case Ge(ge=bound):
            return bool(value >= bound)
        case Gt(gt=bound):
            return bool(value > bound)
        case Le(le=bound):
            return bool(value <= bound)
        case Lt(lt=bound):
            return bool(value < bound)
    return True


def wanted(hint: Any) -> str:
    """What a field takes, in words: `an integer from 1 to 100`."""
    base, constraints = _unwrapped(hint)
    if _is_union(base):
        return wanted(_not_none(base))
    if get_origin(base) is Literal:
        return "one of " + ", ".join(get_args(base))
    if get_origin(base) is tuple:
        return f"a list, each {wanted(get_args(base)[0])}"
    unit = next((one.unit for one in constraints if isinstance(one, Unit)), "")
    if unit:
        return ", ".join([_IN_UNIT[unit], *_bounds(constraints)])
    noun = {str: "text", bool: "true or false", int: "an integer", float: "a number"}
    return " ".join([noun.get(base, "keys and values"), *_bounds(constraints)])


def _bounds(constraints: tuple[Any, ...]) -> Iterator[str]:
    low = next((one.ge for one in constraints if isinstance(one, Ge)), None)
    high = next((one.le for one in constraints if isinstance(one, Le)), None)
    over = next((one.gt for one in constraints if isinstance(one, Gt)), None)
    if low is not None and high is not None:
        yield f"from {low} to {high}"
    elif low is not None:
        yield f"of at least {_short(low)}"
    elif high is not None:
        yield f"of at most {high}"
    if over is not None:
        yield f"over {over}"


def _short(bound: Any) -> str:
    """Whole mebibytes as they are written."""
    return f"{bound // _MIB:g}m" if bound and bound % _MIB == 0 else f"{bound}"


def seconds(text: str) -> str:
    """`10m` and `1h30m` as a number of seconds; any other text as it is."""
    if "".join(found := [m.group() for m in _DURATION.finditer(text)]) != text or not found:
        return text
    total = sum(float(m[1]) * _SECONDS[m[2]] for m in _DURATION.finditer(text))
    return f"{total:g}"


def size_bytes(text: str) -> str:
    """`512m` and `1.5GiB` as a number of bytes (powers of 1024, as engines count)."""
    match = _SIZE.fullmatch(text.strip())
    if not match or not match[2]:
        return text
    return str(int(float(match[1]) * 1024 ** " kmgt".index(match[2].lower())))
