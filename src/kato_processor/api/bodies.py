"""Request bodies as pydantic-core schemas: its messages without the cost of its models.

Each schema is made when the first body of its kind comes.
"""

from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from kato_processor.memory import Observation
from kato_processor.steps import SequenceOptions

if TYPE_CHECKING:
    from pydantic_core import CoreSchema, SchemaValidator

MAX_TTL_S = 10 * 365 * 86400


@cache
def observation() -> "SchemaValidator":
    return _validator(_body(_observation_fields()))


@cache
def sequence() -> "SchemaValidator":
    from pydantic_core import core_schema as s

    flag = s.with_default_schema(s.bool_schema(), default=False)
    item = _observation_fields() | {"unique_id": _optional(s.str_schema())}
    return _validator(
        _body(
            {
                "observations": s.list_schema(_body(item)),
                "learn_after_each": flag,
                "learn_at_end": flag,
                "clear_stm_between": flag,
            }
        )
    )


@cache
def new_session() -> "SchemaValidator":
    from pydantic_core import core_schema as s

    ttl = _optional(s.int_schema(ge=0, le=MAX_TTL_S))
    return _validator(
        _body(
            {
                "node_id": s.str_schema(),
                "user_id": _optional(s.str_schema()),
                "metadata": _optional(_object()),
                "ttl_seconds": ttl,
                "ttl": ttl,
                "config": _optional(_object()),
            }
        )
    )


@cache
def anything() -> "SchemaValidator":
    """Any object."""
    return _validator(_object())


@cache
def integer(limit: int) -> "SchemaValidator":
    """A whole number from -limit to limit."""
    from pydantic_core import core_schema as s

    return _validator(s.int_schema(ge=-limit, le=limit))


def sequence_parts(body: dict[str, Any]) -> tuple[list[Observation], SequenceOptions]:
    """A validated sequence as values."""
    options = SequenceOptions(**{name: body[name] for name in body if name != "observations"})
    return [Observation(**item) for item in body["observations"]], options


def _validator(schema: "CoreSchema") -> "SchemaValidator":
    from pydantic_core import SchemaValidator

    return SchemaValidator(schema)


def _observation_fields() -> dict[str, "CoreSchema"]:
    from pydantic_core import core_schema as s

    def listed(items: "CoreSchema") -> "CoreSchema":
        return s.with_default_schema(s.list_schema(items), default_factory=list)

    def mapped(values: "CoreSchema") -> "CoreSchema":
        return s.with_default_schema(s.dict_schema(s.str_schema(), values), default_factory=dict)

    return {
        "strings": listed(s.str_schema()),
        "vectors": listed(s.list_schema(s.float_schema())),
        "emotives": mapped(s.float_schema()),
        "metadata": mapped(s.any_schema()),
    }


def _body(fields: dict[str, "CoreSchema"]) -> "CoreSchema":
    """A mapping of these fields; one without a default must be there, unknown ones are ignored."""
    from pydantic_core import core_schema as s

    model = s.model_fields_schema(
        {name: s.model_field(schema) for name, schema in fields.items()},
        from_attributes=True,  # as FastAPI asks: it words the refusal of what is no mapping
    )
    return s.no_info_after_validator_function(itemgetter(0), model)


def _optional(schema: "CoreSchema") -> "CoreSchema":
    from pydantic_core import core_schema as s

    return s.with_default_schema(s.nullable_schema(schema), default=None)


def _object() -> "CoreSchema":
    from pydantic_core import core_schema as s

    return s.dict_schema(s.str_schema(), s.any_schema())
