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
_NOTHING = re.compile(r"(?:[ \t]*(?:#[^\n]*)?(?:\n|\Z))*[ \t]*")
_ASSIGNMENT = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*[=:][ \t]*")
_QUOTED = {
    "'": re.compile(r"'((?:\\.|[^'\\])*)'", re.DOTALL),
    '"': re.compile(r'"((?:\\.|[^"\\])*)"', re.DOTALL),
}
_COMMENT = re.compile(r"\s*(?:#.*)?")
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
    """The variables of a `.env` file, by the Compose rules.

    [export] NAME=value or NAME: value    as it stands, with variables, up to ` #`
    "..."  '...'                          over several lines too; only double quotes hold variables

    Raises ValueError that begins with the number of the line.
    """
    found: dict[str, str] = {}
    text, position = text.replace("\r\n", "\n"), 0
    while (start := _begin(text, position)) < len(text):
        number = text.count("\n", 0, start) + 1
        try:
            position = _take_variable(text, start, found, environ)
        except ValueError as error:
            raise ValueError(f"{number}: {error}") from error
    return found


def _begin(text: str, position: int) -> int:
    """Where the next variable is, behind blank lines and comments."""
    match = _NOTHING.match(text, position)
    return match.end() if match else position


def _take_variable(text: str, start: int, found: dict[str, str], environ: Mapping[str, str]) -> int:
    """Add the variable that begins here; where the next line begins."""
    line_end = _line_end(text, start)
    match = _ASSIGNMENT.match(text, start)
    if not match:
        raise ValueError(f"expected NAME=value, not {text[start:line_end].rstrip()[:40]!r}")
    begin = match.end()
    if text[begin : begin + 1] in {"'", '"'}:
        value, end = _quoted(text, begin)
        line_end = _line_end(text, end)
        if not _COMMENT.fullmatch(text, end, line_end):
            raise ValueError(f"{text[end:line_end].strip()[:40]!r} after the closing quote")
    else:
        value = re.split(r"(?:^|\s+)#", text[begin:line_end])[0].rstrip()
    found[match[1]] = interpolate(value, {**found, **environ}, lambda _: None)
    return line_end


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _quoted(text: str, start: int) -> tuple[str, int]:
    """What stands between the quotes, ready to have its variables filled in, and where it ends."""
    quote = text[start]
    match = _QUOTED[quote].match(text, start)
    if not match:
        raise ValueError(f"{quote} without its end")
    if quote == "'":
        return match[1].replace("\\'", "'").replace("$", "$$"), match.end()
    plain = re.sub(
        r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1].replace("$", "$$")), match[1], flags=re.DOTALL
    )
    return plain, match.end()
