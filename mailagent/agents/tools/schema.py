"""Does a wish of a model fit a tool's schema?

The part of JSON Schema (2020-12) that a tool's input needs; a schema with any other keyword is
refused when it is saved, so nothing is believed to be checked that is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from mailagent.errors import Malformed

__all__ = ["checked", "checked_schema"]

_MOST_TEXT = 50_000
_MOST_ITEMS = 1_000
_MOST_DEPTH = 8
_ANNOTATIONS = frozenset({"description", "title", "default", "examples"})
_KEYWORDS: Mapping[str, frozenset[str]] = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "minItems", "maxItems"}),
    "string": frozenset({"enum", "minLength", "maxLength", "format"}),
    "integer": frozenset({"minimum", "maximum", "enum"}),
    "number": frozenset({"minimum", "maximum", "enum"}),
    "boolean": frozenset(),
}
_FORMATS = frozenset({"date-time", "date", "email", "uri"})


def checked_schema(name: str, schema: object, *, depth: int = 0) -> Mapping[str, Any]:
    """A schema that `checked` can hold wishes against. Raises Malformed, naming the place."""
    if not isinstance(schema, Mapping):
        raise Malformed(name, "must be a JSON Schema object")
    if depth > _MOST_DEPTH:
        raise Malformed(name, f"is nested deeper than {_MOST_DEPTH} levels")
    kind = str(schema.get("type"))
    if kind not in _KEYWORDS:
        raise Malformed(f"{name}.type", f"must be one of {', '.join(_KEYWORDS)}")
    unknown = set(schema) - _KEYWORDS[kind] - _ANNOTATIONS - {"type"}
    if unknown:
        known = ", ".join(sorted(_KEYWORDS[kind])) or "none"
        raise Malformed(f"{name}.{min(unknown)}", f"is not understood for {kind}: use of {known}")
    match kind:
        case "object":
            properties = schema.get("properties", {})
            if not isinstance(properties, Mapping):
                raise Malformed(f"{name}.properties", "must be an object")
            for key, one in properties.items():
                checked_schema(f"{name}.properties.{key}", one, depth=depth + 1)
            required = schema.get("required", [])
            if not isinstance(required, list) or not set(required) <= set(properties):
                raise Malformed(f"{name}.required", "must name properties of the schema")
            if schema.get("additionalProperties", False) is not False:
                raise Malformed(f"{name}.additionalProperties", "must be false or left out")
        case "array":
            checked_schema(f"{name}.items", schema.get("items"), depth=depth + 1)
        case "string":
            if schema.get("format") not in (None, *_FORMATS):
                known = ", ".join(sorted(_FORMATS))
                raise Malformed(f"{name}.format", f"must be one of {known}")
        case _:
            pass
    return schema


def checked(schema: Mapping[str, Any], wish: object, *, name: str = "") -> Any:
    """The wish, when it fits. Raises Malformed with a sentence for the model; `name` is where."""
    _CHECKS[schema["type"]](schema, wish, name)
    return wish


def _object(schema: Mapping[str, Any], wish: object, name: str) -> None:
    if not isinstance(wish, Mapping):
        raise Malformed(name or "input", "must be an object")
    properties = schema.get("properties", {})
    for missing in (one for one in schema.get("required", ()) if wish.get(one) is None):
        raise Malformed(_inside(name, missing), "must be given")
    for key, value in wish.items():
        if key not in properties:
            known = ", ".join(properties) or "nothing"
            raise Malformed(_inside(name, str(key)[:80]), f"is not known: give {known}")
        if value is not None:
            checked(properties[key], value, name=_inside(name, key))


def _array(schema: Mapping[str, Any], wish: object, name: str) -> None:
    most = min(schema.get("maxItems", _MOST_ITEMS), _MOST_ITEMS)
    if not isinstance(wish, list) or not schema.get("minItems", 0) <= len(wish) <= most:
        raise Malformed(name, f"must be a list of {schema.get('minItems', 0)} to {most} items")
    for number, one in enumerate(wish):
        checked(schema["items"], one, name=f"{name}[{number}]")


def _string(schema: Mapping[str, Any], wish: object, name: str) -> None:
    if not isinstance(wish, str):
        raise Malformed(name, "must be text")
    if "\x00" in wish or any("\ud800" <= c <= "\udfff" for c in wish):
        raise Malformed(name, "holds characters that no mail can carry")
    least, most = schema.get("minLength", 0), min(schema.get("maxLength", _MOST_TEXT), _MOST_TEXT)
    if not least <= len(wish.strip()) or len(wish) > most:
        raise Malformed(name, f"must have {least} to {most} characters")
    if "enum" in schema and wish not in schema["enum"]:
        raise Malformed(name, f"must be one of {', '.join(map(str, schema['enum']))}")
    match schema.get("format"):
        case "date-time":
            _aware(name, wish)
        case "date":
            _parsed(name, wish, "2026-11-21")
        case "email":
            if not _is_address(wish):
                raise Malformed(name, "must be one e-mail address like ann@customer.example")
        case _:
            pass


def _number(schema: Mapping[str, Any], wish: object, name: str) -> None:
    whole = schema["type"] == "integer"
    if isinstance(wish, bool) or not isinstance(wish, int if whole else int | float):
        raise Malformed(name, "must be a whole number" if whole else "must be a number")
    least, most = schema.get("minimum", float("-inf")), schema.get("maximum", float("inf"))
    if not least <= wish <= most:
        raise Malformed(name, f"must be from {least} to {most}")
    if "enum" in schema and wish not in schema["enum"]:
        raise Malformed(name, f"must be one of {', '.join(map(str, schema['enum']))}")


def _boolean(_: Mapping[str, Any], wish: object, name: str) -> None:
    if not isinstance(wish, bool):
        raise Malformed(name, "must be true or false")


_CHECKS: Mapping[str, Callable[[Mapping[str, Any], object, str], None]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _number,
    "number": _number,
    "boolean": _boolean,
}


def _inside(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _parsed(name: str, text: str, example: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise Malformed(name, f"must look like {example} (ISO 8601)") from None


def _aware(name: str, text: str) -> None:
    example = "2026-11-21T09:30:00+01:00"
    if _parsed(name, text, example).tzinfo is None:
        raise Malformed(name, f"must name its offset from UTC, like {example}")


def _is_address(text: str) -> bool:
    local, at, domain = text.rpartition("@")
    plain = text.isprintable() and not any(c in text for c in ' <>,;:"()[]\\')
    return bool(at and local and "." in domain and plain and len(text) <= 320)
