"""What does a request body say that is JSON, when nothing in it can be relied on?

Octets that are not UTF-8 are kept as lone surrogates (Python's `surrogateescape`), so that a mail
inside a string comes out as it went in; every other text is free of them and of NUL, which no
database takes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mailagent.errors import Malformed
from mailagent.mime import charset

__all__ = ["JsonObject", "read", "read_array", "storable"]


@dataclass(frozen=True, slots=True)
class JsonObject:
    """An object whose members are asked for by the type they must have."""

    members: Mapping[str, Any]
    path: str = ""
    """Where it stands in the body, for errors: "", or `Headers.3.`."""

    def __contains__(self, name: str) -> bool:
        return name in self.members

    def text(self, name: str) -> str:
        """A string that may be empty. Raises Malformed when it is absent or no string."""
        return charset.clean(self.raw(name))

    def filled(self, name: str, *, at_most: int = 10_000) -> str:
        """A string that says something. Raises Malformed."""
        value = self.text(name).strip()
        if not value:
            raise self.wrong(name, "is empty")
        if len(value) > at_most:
            raise self.wrong(name, f"is longer than {at_most} characters")
        return value

    def optional(self, name: str) -> str:
        """A string, "" when it is absent or null. Raises Malformed for another type."""
        return "" if self.members.get(name) is None else self.text(name)

    def raw(self, name: str) -> str:
        """A string as it came. Raises Malformed."""
        if name not in self.members:
            raise self.wrong(name, "is missing")
        value = self.members[name]
        if not isinstance(value, str):
            raise self.wrong(name, "is no text")
        return value

    def whole_number(self, name: str) -> int:
        """Raises Malformed, also for a boolean."""
        value = self.members.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(name, "is missing or no whole number")
        return value

    def object(self, name: str) -> JsonObject:
        """An object, an empty one when it is absent or null. Raises Malformed."""
        value = self.members.get(name)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise self.wrong(name, "is no object")
        return JsonObject(value, f"{self.path}{name}.")

    def objects(self, name: str) -> Iterator[JsonObject]:
        """The objects of an array, none when it is absent or null. Raises Malformed."""
        value = self.members.get(name)
        if value is None:
            return
        if not isinstance(value, list):
            raise self.wrong(name, "is no array")
        yield from _objects(value, f"{self.path}{name}.")

    def wrong(self, name: str, problem: str) -> Malformed:
        """The error for a member that breaks a rule."""
        return Malformed(f"{self.path}{name}"[:200], problem)


def read(body: bytes, name: str = "body") -> JsonObject:
    """The object that a body is, or a field of it called `name`. Raises Malformed."""
    value = _value(body, name)
    if not isinstance(value, dict):
        raise Malformed(name, "is no JSON object")
    return JsonObject(value, "" if name == "body" else f"{name}.")


def read_array(body: bytes) -> list[JsonObject]:
    """The objects of the array that a body is. Raises Malformed."""
    value = _value(body, "body")
    if not isinstance(value, list):
        raise Malformed("body", "is no JSON array")
    return list(_objects(value, ""))


def storable(value: Any) -> Any:
    """The value with every text in it fit for a database."""
    match value:
        case str():
            return charset.clean(value)
        case list():
            return [storable(one) for one in value]
        case dict():
            return {charset.clean(name): storable(one) for name, one in value.items()}
        case _:
            return value


def _objects(values: list[Any], path: str) -> Iterator[JsonObject]:
    for number, one in enumerate(values):
        if not isinstance(one, dict):
            raise Malformed(f"{path}{number}", "is no object")
        yield JsonObject(one, f"{path}{number}.")


def _value(body: bytes, name: str) -> Any:
    try:
        return json.loads(body.decode("utf-8", "surrogateescape"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Malformed(name, "is no JSON") from error


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
