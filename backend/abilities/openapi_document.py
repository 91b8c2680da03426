"""What does an OpenAPI document say at a place, and what do its references lead to?

OpenAPI 3.0 and 3.1 in JSON or YAML. Every place is named by its JSON Pointer (RFC 6901), so that an
error says where. References lead within the document only, and never in a circle.
Source: OpenAPI Specification 3.0.4 and 3.1.1 (read November 2026).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import yaml

from backend.strict_yaml import StrictLoader
from mailagent.errors import Malformed

__all__ = ["LONGEST", "Document", "Spot", "TooLarge", "read"]

LONGEST = 1024 * 1024
"""Octets of a document."""
_VERSIONS = ("3.0.", "3.1.")
_MOST_SPOTS = 100_000
"""Places that are looked at in one document: references can make a small one endless."""


class TooLarge(Malformed):
    """The document holds more than is looked at: nothing of it is taken."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A value of the document and where it stands; `through`: the references that led there."""

    value: Any
    at: str
    through: tuple[str, ...] = ()

    def child(self, name: str | int) -> Spot:
        """What stands in an object or list, None where nothing does."""
        value: Any = None
        if isinstance(self.value, Mapping):
            value = self.value.get(name)
        elif isinstance(self.value, list) and isinstance(name, int):
            value = self.value[name]
        return Spot(value, f"{self.at}/{_escaped(str(name))}", self.through)

    def mapping(self) -> Mapping[str, Any]:
        """The value as an object; nothing is an empty one. Raises Malformed."""
        if self.value is None:
            return {}
        if not isinstance(self.value, Mapping):
            raise Malformed(self.at, "must be an object")
        return self.value

    def items(self) -> list[Spot]:
        """The value as a list; nothing is an empty one. Raises Malformed."""
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            raise Malformed(self.at, "must be a list")
        return [self.child(number) for number in range(len(self.value))]

    def text(self, name: str) -> str:
        """A text that stands in an object; empty where none does. Raises Malformed."""
        found = self.mapping().get(name)
        if found is None:
            return ""
        if not isinstance(found, str):
            raise Malformed(f"{self.at}/{_escaped(name)}", "must be text")
        return found


class Document:
    """An OpenAPI document."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = Spot(root, "#")
        self._looked_at = 0

    def followed(self, spot: Spot) -> Spot:
        """What a reference leads to, or the place itself.

        Raises Malformed for one that leads out, nowhere or in a circle; TooLarge.
        """
        self._looked_at += 1
        if self._looked_at > _MOST_SPOTS:
            raise TooLarge("#", f"leads to more than {_MOST_SPOTS:,} places: take a smaller one")
        if not isinstance(spot.value, Mapping) or "$ref" not in spot.value:
            return spot
        ref, at = spot.value["$ref"], f"{spot.at}/$ref"
        if not isinstance(ref, str) or not ref.startswith("#/"):
            raise Malformed(
                at, f"leads out of the document ({str(ref)[:80]!r}): put what it names into it"
            )
        if ref in spot.through:
            raise Malformed(at, f"leads in a circle: {ref} holds itself")
        found = self.root
        for name in ref[2:].split("/"):
            plain = unquote(name).replace("~1", "/").replace("~0", "~")
            number = isinstance(found.value, list) and plain.isdecimal()
            try:
                found = found.child(int(plain) if number else plain)
            except IndexError:
                found = Spot(None, at)
        if found.value is None:
            raise Malformed(at, f"leads nowhere: there is no {ref}")
        return self.followed(Spot(found.value, ref, (*spot.through, ref)))


def read(text: str) -> Document:
    """A document from JSON or YAML. Raises Malformed, naming the place and the mend."""
    if len(text.encode(errors="surrogatepass")) > LONGEST:
        raise TooLarge("document", f"has more than {LONGEST:,} octets: take the part you need")
    found = _parsed(text)
    if not isinstance(found, Mapping):
        raise Malformed("document", "must be an OpenAPI document: an object with `openapi`")
    version = str(found.get("openapi", ""))
    if not f"{version}.".startswith(_VERSIONS):
        told = version or "no `openapi`" if "swagger" not in found else "Swagger 2.0"
        raise Malformed("#/openapi", f"must be 3.0 or 3.1, and this is {told[:40]}: convert it")
    return Document(found)


def _parsed(text: str) -> object:
    """What JSON or YAML says; the first is tried first, because it is a hundred times as quick."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return yaml.load(text, StrictLoader)  # noqa: S506 - a SafeLoader that takes still less
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        raise Malformed(
            "document", f"is neither JSON nor YAML at {place}: {error.problem}"
        ) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Malformed("document", "is neither JSON nor YAML") from error


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
