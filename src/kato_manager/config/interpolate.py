"""Variables in values, by the Compose rules, and the `.env` file they may come from.

$NAME ${NAME}      its value; empty, with a warning, when unset
${NAME:-default}   default when unset or empty      ${NAME-default}   only when unset
${NAME:?message}   an error when unset or empty     ${NAME?message}   only when unset
${NAME:+other}     other when set and not empty     ${NAME+other}     also when empty
$$                 a dollar sign; defaults, messages and others may hold variables themselves
"""

import re
from collections.abc import Callable, Mapping

MAX_LENGTH = 1024 * 1024
MAX_NESTING = 10

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*=\s*(.*)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}

Unset = Callable[[str], None]


def interpolate(text: str, variables: Mapping[str, str], on_unset: Unset, depth: int = 0) -> str:
    """The text with every variable replaced; `on_unset` is told of names that have no value.

    Raises ValueError, in the user's words, for what is no variable and for `${NAME:?message}`.
    """
    if depth > MAX_NESTING:
        raise ValueError(f"variables nested deeper than {MAX_NESTING}")
    parts, length, position = [], 0, 0
    while (dollar := text.find("$", position)) >= 0:
        value, end = _variable(text, dollar + 1, variables, on_unset, depth)
        parts += [text[position:dollar], value]
        length += dollar - position + len(value)
        if length > MAX_LENGTH:
            raise ValueError(f"longer than {MAX_LENGTH} characters with its variables filled in")
        position = end
    return "".join([*parts, text[position:]])


def _variable(
    text: str, start: int, variables: Mapping[str, str], on_unset: Unset, depth: int
) -> tuple[str, int]:
    """What stands for the variable after the dollar sign, and where the text goes on."""
    if text[start : start + 1] == "$":
        return "$", start + 1
    if text[start : start + 1] == "{":
        end = _closing(text, start)
        return _braced(text[start + 1 : end], variables, on_unset, depth), end + 1
    if match := _NAME.match(text, start):
        return _plain(match[0], variables, on_unset), match.end()
    raise ValueError("a lone $ is no variable, write $$ for a dollar sign")


def _closing(text: str, start: int) -> int:
    level = 0
    for position in range(start, len(text)):
        if text[position] == "{" and text[position - 1] == "$":
            level += 1
        elif text[position] == "}":
            level -= 1
            if not level:
                return position
    raise ValueError("${ without its }")


def _braced(inside: str, variables: Mapping[str, str], on_unset: Unset, depth: int) -> str:
    name = _NAME.match(inside)
    operator = _OPERATOR.match(inside, name.end()) if name else None
    if name and name.end() == len(inside):
        return _plain(name[0], variables, on_unset)
    if not name or not operator:
        raise ValueError(f"${{{inside[:40]}}} is no variable, write $$ for a dollar sign")
    value = variables.get(name[0])
    is_given = bool(value) if operator[0][0] == ":" else value is not None
    rest = inside[operator.end() :]
    if operator[0][-1] == "+":
        return interpolate(rest, variables, on_unset, depth + 1) if is_given else ""
    if is_given:
        return value or ""
    rest = interpolate(rest, variables, on_unset, depth + 1)
    if operator[0][-1] == "?":
        raise ValueError(f"the variable {name[0]} is required" + (f": {rest}" if rest else ""))
    return rest


def _plain(name: str, variables: Mapping[str, str], on_unset: Unset) -> str:
    if name not in variables:
        on_unset(name)
    return variables.get(name, "")


def read_env(text: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of a `.env` file: `[export] NAME=value`, quotes and comments as in Compose.

    Raises ValueError that begins with the number of the line.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        if not match:
            raise ValueError(f"{number}: expected NAME=value, not {stripped[:40]!r}")
        try:
            found[match[1]] = _env_value(match[2], {**found, **environ})
        except ValueError as error:
            raise ValueError(f"{number}: {error}") from error
    return found


def _env_value(text: str, variables: Mapping[str, str]) -> str:
    quote = text[:1]
    if quote not in {"'", '"'}:
        return interpolate(re.split(r"(?:^|\s+)#", text)[0].rstrip(), variables, lambda _: None)
    match = re.fullmatch(rf"{quote}((?:\\.|[^{quote}\\])*){quote}\s*(?:#.*)?", text, re.DOTALL)
    if not match:
        raise ValueError(f"{quote} without its end")
    if quote == "'":
        return match[1].replace("\\'", "'")
    text = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1].replace("$", "$$")), match[1])
    return interpolate(text, variables, lambda _: None)
