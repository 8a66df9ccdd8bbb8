"""A sealed field of a pydantic model.

Layer: labels. The only place of the layer that imports pydantic; loaded when a model needs it.
Start reading at `sealed_schema`.
"""

from __future__ import annotations

import typing
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticCustomError, ValidationError, core_schema

from policyguard.errors import TermError

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, SerializationInfo
    from pydantic_core import CoreSchema

    from policyguard.labels.sealed import Sealed
    from policyguard.policy.flow import Form


def sealed_schema(
    kind: type[Sealed[Any]],
    source: object,
    handler: GetCoreSchemaHandler,
    annotated: tuple[str, Form] | None,
) -> CoreSchema:
    """Validates as the type in brackets, then seals; a seal passes as it is.

    JSON gets the placeholder, Python keeps the object; the JSON schema is that of the type.

    Args:
        kind: `Sealed`.
        source: the annotation, `Sealed[str]`.
        handler: of pydantic.
        annotated: data and form of the `Category` around it.

    Raises:
        TermError: there is no `Category`.
    """
    if annotated is None:
        raise TermError(
            "a sealed field names no data category",
            hint="write Annotated[Sealed[str], Category('user.contact.email')]",
        )
    data, form = annotated
    arguments = typing.get_args(source)
    inner = handler.generate_schema(arguments[0]) if arguments else core_schema.any_schema()

    def validate(value: Any, check: core_schema.ValidatorFunctionWrapHandler) -> Sealed[Any]:
        if type(value) is kind:
            return value
        try:
            return kind(check(value), data, form)
        except ValidationError:
            # Denies: the value. What the type says about it would quote it, so it is not passed on.
            del value
        raise _invalid(data)

    def write(held: Any, how: SerializationInfo) -> Any:
        if how.mode == "python":
            return held
        # A field that was set without validation may hold the bare value: never its text.
        return repr(held) if type(held) is kind else f"<sealed {data}>"

    return core_schema.no_info_wrap_validator_function(
        validate,
        inner,
        serialization=core_schema.plain_serializer_function_ser_schema(write, info_arg=True),
    )


def quiet_schema(schema: CoreSchema, data: str) -> CoreSchema:
    """The same, but an error shows nothing of what came in: places in lists at most.

    Args:
        schema: of an annotation that holds a seal somewhere, such as a list of them.
        data: what the `Category` around it says.
    """

    def validate(value: Any, check: core_schema.ValidatorFunctionWrapHandler) -> Any:
        try:
            return check(value)
        except ValidationError as error:
            # Denies: the value. A container of the wrong type would be quoted whole, keys too.
            places = {_place(one["loc"]): None for one in error.errors(include_input=False)}
            del value
        raise _invalid(data, *places)

    return core_schema.no_info_wrap_validator_function(validate, schema)


def json_schema(schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
    """What a client sends: the type in brackets; what it gets: text."""
    return {"type": "string"} if handler.mode == "serialization" else handler(schema)


def _place(where: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The numbers that a place starts with: a name further in may be a key, and that is data."""
    return tuple(takewhile(lambda step: type(step) is int, where))


def _invalid(data: str, *places: tuple[int | str, ...]) -> ValidationError:
    """An error at one or some places whose shown input is the placeholder."""
    shown = f"<sealed {data}>"
    kind = PydanticCustomError("sealed", "The value can't be read as its type; it isn't shown")
    return ValidationError.from_exception_data(
        "Sealed", [{"type": kind, "loc": place, "input": shown} for place in places or ((),)]
    )
