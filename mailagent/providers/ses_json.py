"""How is JSON that Amazon wrote read, so that a wrong field has a name and nothing crashes?"""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from mailagent.errors import Malformed

__all__ = ["Shape", "members", "shaped"]


class Shape(BaseModel):
    """Fields in camel case; what is not named here is left out, since Amazon adds fields."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, hide_input_in_errors=True)


ShapeT = TypeVar("ShapeT", bound=BaseModel)


def members(name: str, text: str | bytes) -> dict[str, Any]:
    """The members of a JSON object. Raises Malformed for `name`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(name, "is no JSON") from error
    if not isinstance(value, dict):
        raise Malformed(name, "is no JSON object")
    return value


def shaped(shape: type[ShapeT], value: object, name: str) -> ShapeT:
    """The value as `shape`. Raises Malformed for the first field that is not as it should be."""
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, (name, *first["loc"])))
        raise Malformed(field, first["msg"].lower()) from error
