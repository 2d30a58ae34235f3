"""Takes out of what is written what shall not be kept: rules by name, by pattern, by key.

    email  credit_card  ip_address  credentials     known rules, replaced by their name: `[email]`
    {pattern: REGEX, name: NAME}                    what matches, replaced by `[NAME]`
    {key: NAME}                                     all below a key of that name, in any case

Texts anywhere in content, data, context and metadata are searched; keys and numbers stay.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kato_sessions.errors import InvalidSession, SettingInvalid
from kato_sessions.model import Item

_NAME = "redacted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What goes: matches of `pattern` for which `holds`, and values below `keys` (lower case)."""

    name: str
    pattern: re.Pattern[str] | None = None
    holds: Callable[[str], bool] = bool
    keys: frozenset[str] = frozenset()

    def replaced(self, found: re.Match[str]) -> str:
        return f"[{self.name}]" if self.holds(found[0]) else found[0]


class Redaction:
    """A store's `redact=`: the item without what the rules take out, and marked as redacted."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._below = {key: f"[{rule.name}]" for rule in self._rules for key in rule.keys}

    def __call__(self, item: Item) -> Item:
        try:
            content, data = self._cleaned(item.content), self._cleaned(item.data)
        except RecursionError as error:
            raise InvalidSession("nested too deep to be searched") from error
        if content == item.content and data == item.data:
            return item
        return replace(item, content=content, data=data, redacted=True)

    def _cleaned(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {
                key: self._below.get(str(key).lower()) or self._cleaned(one)
                for key, one in value.items()
            }
        if isinstance(value, Sequence):
            return [self._cleaned(one) for one in value]
        return value

    def _text(self, text: str) -> str:
        for rule in self._rules:
            if rule.pattern:
                text = rule.pattern.sub(rule.replaced, text)
        return text


def rules_of(given: Any, path: str) -> tuple[Rule, ...]:
    """Rules from a list as a configuration has it; raises SettingInvalid naming the wrong one."""
    if not isinstance(given, list):
        raise SettingInvalid(path, f"{given!r} is not a list of rules, as in [email, ip_address]")
    return tuple(_rule(one, f"{path}[{number}]") for number, one in enumerate(given))


def _rule(given: Any, path: str) -> Rule:
    if isinstance(given, str):
        if given not in KNOWN:
            hint = "of your own: {pattern: REGEX} or {key: NAME}"
            raise SettingInvalid.unknown(path, given, KNOWN, kind="rule", hint=hint)
        return KNOWN[given]
    if not isinstance(given, Mapping):
        raise SettingInvalid(path, f"{given!r} is no rule: use a name, {{pattern: }} or {{key: }}")
    for key, value in given.items():
        if key not in {"pattern", "key", "name"}:
            raise SettingInvalid.unknown(f"{path}.{key}", key, ("pattern", "key", "name"))
        if not isinstance(value, str) or not value:
            raise SettingInvalid(f"{path}.{key}", f"{value!r} is not a text")
    if ("pattern" in given) == ("key" in given):
        raise SettingInvalid(path, "a rule has either a pattern or a key")
    name = given.get("name", _NAME)
    if "key" in given:
        return Rule(name=name, keys=frozenset({given["key"].lower()}))
    return Rule(name=name, pattern=_pattern(given["pattern"], f"{path}.pattern"))


def _pattern(text: str, path: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise SettingInvalid(path, f"{text!r} is not a regular expression: {error}") from error
    if pattern.match(""):
        raise SettingInvalid(path, f"{text!r} matches the empty text")
    return pattern


def _is_card(text: str) -> bool:
    """Luhn's check sum, ISO/IEC 7812-1 annex B."""
    digits = [int(one) for one in text if one.isdigit()]
    doubled = [two - 9 * (two > 9) for two in (2 * one for one in digits[-2::-2])]  # noqa: PLR2004
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


# Each begins where a word begins and is bounded, so that a long text costs time in proportion.
KNOWN = {
    rule.name: rule
    for rule in (
        Rule(
            name="email",
            pattern=re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"),
        ),
        Rule(
            name="credit_card",
            pattern=re.compile(r"(?<!\d)[0-9](?:[ -]?[0-9]){12,18}(?!\d)"),
            holds=_is_card,
        ),
        Rule(
            name="ip_address",
            pattern=re.compile(
                r"(?<![\w.:])(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f:]{2,39})(?![\w:])"
            ),
            holds=_is_address,
        ),
        Rule(
            name="credentials",
            pattern=re.compile(
                r"(?i:\bbearer\s{1,8})[\w.~+/=-]{8,4096}"
                r"|\b(?:sk|pk|rk)[-_][\w-]{16,256}|\bgh[a-z]_\w{20,256}|\bAKIA[0-9A-Z]{16}\b"
                r"|\beyJ[\w-]{8,4096}\.eyJ[\w-]{8,8192}\.[\w-]{1,4096}"
            ),
            keys=frozenset(
                "password passwd secret token api_key apikey access_token authorization".split()
            ),
        ),
    )
}
