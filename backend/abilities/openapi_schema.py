"""What does a tool's input look like that an OpenAPI document describes?

Its schemas as the part of JSON Schema that we check (`mailagent.agents.tools.schema`). What only
the far side can check (`pattern`, unknown formats) is told to the model in words. What cannot be
said is refused by its place; an optional property that cannot be said is left out, and told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from backend.abilities.openapi_document import Document, Spot, TooLarge
from mailagent.errors import Malformed

__all__ = ["BY_HAND", "Schemas"]

BY_HAND = "describe the operation by hand (mailagent tool add)"
"""The mend of all that cannot be said."""
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MOST_DEPTH = 8
_DESCRIPTION_CHARACTERS = 500
_CHECKED: Mapping[str, frozenset[str]] = {
    "object": frozenset(),
    "array": frozenset({"minItems", "maxItems"}),
    "string": frozenset({"minLength", "maxLength"}),
    "integer": frozenset({"minimum", "maximum"}),
    "number": frozenset({"minimum", "maximum"}),
    "boolean": frozenset(),
}
_OF_KIND: Mapping[str, Any] = {"string": str, "integer": int, "number": int | float}
_FORMATS = frozenset({"date-time", "date", "email", "uri"})
_PLAIN_FORMATS = frozenset({"int32", "int64", "float", "double", "password"})
"""Which say no more than the type does."""
_IN_WORDS = ("pattern", "multipleOf", "uniqueItems", "exclusiveMinimum", "exclusiveMaximum")
_UNSAYABLE = (
    *("not", "if", "patternProperties", "propertyNames", "dependentSchemas", "dependentRequired"),
    *("prefixItems", "contains", "$dynamicRef"),
)


class Schemas:
    """Makes inputs of the schemas of one document; `left_out` tells what was not taken, and why."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.left_out: list[str] = []

    def input_of(self, spot: Spot, *, depth: int = 0) -> dict[str, Any]:
        """The schema at a place, references resolved. Raises Malformed, naming a place in it."""
        if depth > _MOST_DEPTH:
            raise Malformed(spot.at, f"is nested deeper than {_MOST_DEPTH} levels: {BY_HAND}")
        parts = self._parts(spot)
        words, kinds = parts.keywords, parts.kinds
        if len(kinds) != 1:
            said = "several types" if kinds else "no type"
            raise Malformed(parts.at, f"has {said}: give it one, or {BY_HAND}")
        (kind,) = kinds
        made: dict[str, Any] = {"type": kind}
        match kind:
            case "object":
                made |= self._object(parts, depth)
            case "array":
                made["items"] = self.input_of(parts.items, depth=depth + 1)
        made |= {name: _number(words, name, parts.at) for name in _CHECKED[kind] if name in words}
        described = [words.get("description") or words.get("title") or "", *_told(words, kind)]
        if (values := _values(words)) is not None:
            if kind in _OF_KIND:
                if not all(isinstance(one, _OF_KIND[kind]) for one in values):
                    raise Malformed(f"{parts.at}/enum", f"holds what is no {kind}: quote texts")
                made["enum"] = values
            else:
                described.append(f"one of {values}")
        if kind == "string" and words.get("format") in _FORMATS:
            made["format"] = words["format"]
        if text := " ".join(str(one).strip() for one in described if one):
            made["description"] = text[:_DESCRIPTION_CHARACTERS]
        return made

    def optional(self, spot: Spot) -> bool:
        """Whether null is taken there: then nothing need be given. Raises Malformed."""
        return self._parts(spot).null

    def unwanted(self, spot: Spot) -> bool:
        """Whether a property is the far side's to give (`readOnly`). Raises Malformed."""
        return self._parts(spot).keywords.get("readOnly") is True

    def _object(self, parts: _Parts, depth: int) -> dict[str, Any]:
        if not parts.properties:
            raise Malformed(
                parts.at, f"is an object without properties, which nothing could check: {BY_HAND}"
            )
        properties: dict[str, Any] = {}
        required = []
        for name, spot in parts.properties.items():
            wanted = name in parts.required
            try:
                if self.unwanted(spot):
                    continue
                if depth:
                    _sayable(name, spot)
                properties[name] = self.input_of(spot, depth=depth + 1)
                if wanted and not self.optional(spot):
                    required.append(name)
            except TooLarge:
                raise
            except Malformed as error:
                if wanted:
                    raise
                self.left_out.append(str(error))
        return {"properties": properties, "required": required, "additionalProperties": False}

    def _parts(self, spot: Spot) -> _Parts:
        parts = _Parts(spot.at)
        self._gather(spot, parts, depth=0)
        return parts

    def _gather(self, spot: Spot, parts: _Parts, *, depth: int) -> None:
        """Put what a schema says, and all that it is made of, into `parts`."""
        described = spot.value.get("description") if isinstance(spot.value, Mapping) else None
        spot = self._document.followed(spot)
        if depth > _MOST_DEPTH:
            raise Malformed(spot.at, f"is made of more than {_MOST_DEPTH} others: {BY_HAND}")
        words = spot.mapping()
        for name in _UNSAYABLE:
            if name in words:
                raise Malformed(f"{spot.at}/{name}", f"cannot be said to a model: {BY_HAND}")
        for part in spot.child("allOf").items():
            self._gather(part, parts, depth=depth + 1)
        for way in ("oneOf", "anyOf"):
            options = [self._document.followed(one) for one in spot.child(way).items()]
            forms = [one for one in options if not _is_null(one.value)]
            parts.null = parts.null or len(forms) < len(options)
            if len(forms) > 1:
                raise Malformed(
                    f"{spot.at}/{way}", f"lets choose between {len(forms)} forms: {BY_HAND}"
                )
            for one in forms:
                self._gather(one, parts, depth=depth + 1)
        parts.add(spot, described if isinstance(described, str) else None)


class _Parts:
    """One schema, with all that `allOf` and a single choice add to it."""

    def __init__(self, at: str) -> None:
        self.at = at
        self.keywords: dict[str, Any] = {}
        self.kinds: list[str] = []
        self.properties: dict[str, Spot] = {}
        self.required: set[str] = set()
        self.null = False
        self.items = Spot(None, f"{at}/items")

    def add(self, spot: Spot, described: str | None) -> None:
        """What stands in the schema itself."""
        words = spot.mapping()
        self.at = spot.at
        self.null = self.null or words.get("nullable") is True
        for kind in _kinds(words, spot.at):
            if kind == "null":
                self.null = True
            elif kind not in self.kinds:
                self.kinds.append(kind)
        properties = spot.child("properties")
        for name in properties.mapping():
            self.properties[str(name)] = properties.child(name)
        required = [one.value for one in spot.child("required").items()]
        self.required |= {one for one in required if isinstance(one, str)}
        if "items" in words:
            self.items = spot.child("items")
        self.keywords |= {str(name): value for name, value in words.items()}
        if described is not None:
            self.keywords["description"] = described


def _kinds(words: Mapping[str, Any], at: str) -> list[str]:
    said = words.get("type")
    kinds = said if isinstance(said, list) else [said] if said is not None else []
    if unknown := [one for one in kinds if one not in (*_CHECKED, "null")]:
        raise Malformed(f"{at}/type", f"{str(unknown[0])[:40]!r} is no type")
    if not kinds and "properties" in words:
        return ["object"]
    if not kinds and "items" in words:
        return ["array"]
    if not kinds and (values := _values(words)) and all(isinstance(one, str) for one in values):
        return ["string"]
    return kinds


def _values(words: Mapping[str, Any]) -> list[Any] | None:
    if "const" in words:
        return [words["const"]]
    values = words.get("enum")
    return [one for one in values if one is not None] if isinstance(values, list) else None


def _told(words: Mapping[str, Any], kind: str) -> list[str]:
    """What nobody here checks, in words for the model."""
    told = [f"({name}: {words[name]})" for name in _IN_WORDS if name in words]
    form = words.get("format")
    if (
        form is not None
        and form not in _PLAIN_FORMATS
        and not (kind == "string" and form in _FORMATS)
    ):
        told.append(f"(format: {form})")
    return told


def _number(words: Mapping[str, Any], name: str, at: str) -> int | float:
    value = words[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Malformed(f"{at}/{name}", "must be a number")
    return value


def _sayable(name: str, spot: Spot) -> None:
    if not _NAME.fullmatch(name):
        raise Malformed(spot.at, "has a name that no model can be told")


def _is_null(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("type") == "null"
