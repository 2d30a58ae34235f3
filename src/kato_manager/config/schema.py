"""The JSON Schema of a file of instances, from the same types and templates that reading uses.

It is for editors: what it refuses, reading refuses too. Texts with a variable are let through.
"""

import types
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le

from kato_manager.config.canonical import ALIASES, FIELDS, LAUNCH_FIELDS
from kato_manager.config.meanings import ENTRY, SECTIONS
from kato_manager.config.template import Setting, Template
from kato_manager.config.values import fields_of
from kato_manager.model import Json
from kato_manager.names import MAX_ID_LENGTH

Schema = dict[str, Json]
DRAFT = "https://json-schema.org/draft/2020-12/schema"

_TEXT: Schema = {"type": ["string", "number", "boolean", "null"]}
_VARIABLE: Schema = {"type": "string", "pattern": r"\$"}
_DURATION: Schema = {"type": "string", "pattern": r"^([0-9.]+(ms|s|m|h|d))+$"}
_SIZE: Schema = {"type": "string", "pattern": r"^[0-9.]+ *[kKmMgGtT]i?[bB]?$"}
_TYPES = {int: "integer", float: "number", bool: "boolean"}
_BOUNDS = {Ge: ("ge", "minimum"), Gt: ("gt", "exclusiveMinimum"), Le: ("le", "maximum")}
_DOLLARS: Schema = {"^x-": {}}


def file_schema(templates: Iterable[Template]) -> Schema:
    """The schema of a whole file, with the settings of all the given templates."""
    entry = {"$ref": "#/$defs/entry"}
    named = {"type": ["object", "null"], "additionalProperties": entry}
    listed = {"type": "array", "items": {"allOf": [entry, {"required": ["id"]}]}}
    member_ids = {"type": "array", "items": {"type": "string"}}
    groups = {"type": "object", "additionalProperties": {"anyOf": [entry, member_ids]}}
    sections = {
        "version": {},
        "name": {},
        "include": {"anyOf": [member_ids, {"type": ["string", "null"]}]},
        "shared": entry,
        "groups": groups,
        "templates": {"type": "object"},
        "instances": {"anyOf": [listed, named]},
    }
    return {
        "$schema": DRAFT,
        "title": "Instances of kato-manager",
        "type": "object",
        "additionalProperties": False,
        "patternProperties": _DOLLARS,
        "properties": _described(sections, SECTIONS),
        "$defs": {"entry": _entry(list(templates))},
    }


def _entry(templates: list[Template]) -> Schema:
    settings = _settings(templates)
    properties: Schema = {name: of_type(hint, name) for name, hint in FIELDS.items()}
    properties |= {name: of_type(hint, name) for name, hint in LAUNCH_FIELDS.items()}
    properties["id"] = {"type": ["string", "number", "boolean"], "maxLength": MAX_ID_LENGTH}
    properties |= _shorthands(properties)
    properties |= {alias: properties[name] for alias, name in ALIASES.items()}
    properties["settings"] = {"type": ["object", "null"], "properties": settings}
    return {
        "type": ["object", "null"],
        "additionalProperties": False,
        "patternProperties": _DOLLARS,
        "properties": {**settings, **_described({**properties, **_of_document()}, ENTRY)},
    }


def _described(properties: Schema, meanings: Mapping[str, str]) -> Schema:
    """Each with its description; an alias has that of what it stands for."""
    names = {name: alias for alias, name in ALIASES.items()}
    found = {key: meanings.get(key) or meanings[names[key]] for key in properties}
    return {key: {**schema, "description": found[key]} for key, schema in properties.items()}


def _settings(templates: list[Template]) -> Schema:
    """Every spelling of every setting; a name two templates share may be either."""
    found: dict[str, list[Schema]] = {}
    for template in templates:
        for spelling, name in template.spelled.items():
            schema = of_setting(template.settings[name])
            if schema not in found.setdefault(spelling, []):
                found[spelling].append(schema)
    ignored = {name: {"description": why} for one in templates for name, why in one.ignored.items()}
    return ignored | {n: s[0] if len(s) == 1 else {"anyOf": s} for n, s in found.items()}


def of_setting(setting: Setting) -> Schema:
    described = {"description": setting.help} if setting.help else {}
    default = {} if setting.default is None else {"default": setting.default}
    return {**of_type(setting.hint), **described, **default}


def of_type(hint: Any, name: str = "") -> Schema:
    """What `values.read` takes for a declared type."""
    base, *constraints = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if get_origin(base) in {Union, types.UnionType}:
        return of_type(next(one for one in get_args(base) if one is not type(None)), name)
    if isinstance(base, type) and is_dataclass(base):
        return _object({key: of_type(one, key) for key, one in fields_of(base).items()})
    if get_origin(base) is Literal:
        return {"anyOf": [{"enum": [*get_args(base), None]}, _VARIABLE]}
    if get_origin(base) is tuple:
        items = of_type(get_args(base)[0])
        return {"anyOf": [{"type": "array", "items": items}, {"type": ["string", "null"]}]}
    if get_origin(base) is Mapping:
        return {"type": ["object", "null"], "additionalProperties": of_type(get_args(base)[1])}
    if base is str:
        return dict(_TEXT)
    limits = [one for one in constraints if type(one) in _BOUNDS]
    bounds = {_BOUNDS[type(c)][1]: getattr(c, _BOUNDS[type(c)][0]) for c in limits}
    number: Schema = {"type": [_TYPES[base], "null"], **bounds}
    forms = [number, _VARIABLE, *([_DURATION] if name.endswith("_s") else [])]
    return {"anyOf": [*forms, *([{"enum": ["yes", "no", "on", "off"]}] if base is bool else [])]}


def _object(properties: Schema) -> Schema:
    return {"type": ["object", "null"], "additionalProperties": False, "properties": properties}


def _shorthands(properties: Schema) -> Schema:
    limits = properties["limits"]["properties"]
    memory = {"anyOf": [limits["memory_bytes"], _SIZE]}
    pairs = {"type": "array", "items": {"type": "string", "pattern": "="}}
    return {
        "limits": _object({**limits, "memory": memory}),
        "health": {"anyOf": [properties["health"], {"type": "string"}]},
        "env": {"anyOf": [properties["env"], pairs]},
    }


def _of_document() -> Schema:
    """Keys that only a file has: they make instances, or name other files."""
    row = {"type": "object"}
    matrix = {
        "type": "object",
        "additionalProperties": {"type": "array"},
        "properties": {key: {"type": "array", "items": row} for key in ("include", "exclude")},
    }
    file: Schema = {
        "anyOf": [
            {"type": "string"},
            {
                "type": "object",
                "required": ["path"],
                "additionalProperties": False,
                "properties": {"path": {"type": "string"}, "required": of_type(bool)},
            },
        ]
    }
    base = {"type": "object", "required": ["instance"], "additionalProperties": False}
    base["properties"] = {"instance": {"type": "string"}, "file": {"type": "string"}}
    return {
        "extends": {"anyOf": [{"type": ["string", "null"]}, base]},
        "env_file": {"anyOf": [file, {"type": ["array", "null"], "items": file}]},
        "profiles": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]},
        "replicas": {"anyOf": [{"type": "integer", "minimum": 0}, _VARIABLE]},
        "matrix": matrix,
    }
