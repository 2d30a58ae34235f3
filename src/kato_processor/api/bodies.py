"""Request bodies as pydantic-core schemas: its messages without the cost of its models."""

from typing import Any

from pydantic_core import SchemaValidator
from pydantic_core import core_schema as s

from kato_processor.memory import Observation
from kato_processor.steps import SequenceOptions

MAX_TTL_S = 10 * 365 * 86400

_text = s.str_schema()
_object = s.dict_schema(_text, s.any_schema())
_flag = s.with_default_schema(s.bool_schema(), default=False)


def _list(items: s.CoreSchema) -> s.CoreSchema:
    return s.with_default_schema(s.list_schema(items), default_factory=list)


def _mapping(values: s.CoreSchema) -> s.CoreSchema:
    return s.with_default_schema(s.dict_schema(_text, values), default_factory=dict)


def _body(fields: dict[str, s.CoreSchema], required: tuple[str, ...] = ()) -> s.CoreSchema:
    return s.typed_dict_schema(
        {
            name: s.typed_dict_field(schema, required=name in required)
            for name, schema in fields.items()
        },
        extra_behavior="ignore",
    )


_observation = {
    "strings": _list(_text),
    "vectors": _list(s.list_schema(s.float_schema())),
    "emotives": _mapping(s.float_schema()),
    "metadata": _mapping(s.any_schema()),
}
_ttl = s.nullable_schema(s.int_schema(ge=0, le=MAX_TTL_S))

OBSERVATION = SchemaValidator(_body(_observation))
SEQUENCE = SchemaValidator(
    _body(
        {
            "observations": s.list_schema(
                _body(_observation | {"unique_id": s.nullable_schema(_text)})
            ),
            "learn_after_each": _flag,
            "learn_at_end": _flag,
            "clear_stm_between": _flag,
        },
        required=("observations",),
    )
)
SESSION = SchemaValidator(
    _body(
        {
            "node_id": _text,
            "user_id": s.nullable_schema(_text),
            "metadata": s.nullable_schema(_object),
            "ttl_seconds": _ttl,
            "ttl": _ttl,
            "config": s.nullable_schema(_object),
        },
        required=("node_id",),
    )
)
OBJECT = SchemaValidator(_object)


def observation(body: dict[str, Any]) -> Observation:
    return Observation(**body)


def sequence(body: dict[str, Any]) -> tuple[list[Observation], SequenceOptions]:
    options = SequenceOptions(**{name: body[name] for name in body if name != "observations"})
    return [Observation(**item) for item in body["observations"]], options
