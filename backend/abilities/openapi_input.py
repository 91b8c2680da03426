"""Which input does an operation take, and where does each property of it go?

Parameters of path, query and header fields and the properties of the JSON body, in one object.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, Literal, NoReturn

from backend.abilities.openapi_document import Document, Spot, TooLarge
from backend.abilities.openapi_schema import BY_HAND, Schemas
from mailagent.errors import Malformed
from mailagent.flow.tools.http_request import HEADER, OURS, Place

__all__ = ["Inputs"]

_JSON = re.compile(r"(application/([\w.+-]*\+)?json|\*/\*|application/\*)(\s*;.*)?", re.IGNORECASE)
_NOT_THE_MODELS = OURS | {"accept", "accept-encoding", "authorization", "cookie", "idempotency-key"}
"""Header fields that are no part of a tool's input, in lower case."""


class Inputs:
    """The properties of one tool's input, gathered from parameters and body."""

    def __init__(
        self,
        schemas: Schemas,
        document: Document,
        *,
        headers: Collection[str] = (),
        query: Collection[str] = (),
    ) -> None:
        """`headers` and `query` name what a credential sets, and no model."""
        self._schemas, self._document = schemas, document
        self._headers = _NOT_THE_MODELS | {name.lower() for name in headers}
        self._query = query
        self.properties: dict[str, Any] = {}
        self.required: list[str] = []
        self.places: dict[str, Place] = {}

    def take(self, path: str, shared: Spot, own: Spot) -> str:
        """Take all parameters and the body; returns the path with its own as `{property}`.

        `own` is the operation, `shared` what its path says for all. Raises Malformed, TooLarge.
        """
        path = self._parameters(path, shared, own)
        self._body(self._document.followed(own.child("requestBody")))
        return path

    def _parameters(self, path: str, shared: Spot, own: Spot) -> str:
        known: list[str] = []
        for spot in self._merged(shared, own):
            name, where = spot.text("name"), spot.text("in")
            wanted = spot.mapping().get("required") is True
            try:
                match where:
                    case "path":
                        known.append(f"{{{self._in_path(spot, name)}}}")
                        path = path.replace(f"{{{name}}}", known[-1])
                    case "query" | "header":
                        self._beside(spot, name, where, wanted=wanted)
                    case _:
                        _unsendable(spot, where)
            except TooLarge:
                raise
            except Malformed as error:
                if wanted or where == "path":
                    raise
                self._schemas.left_out.append(str(error))
        for place in re.findall(r"\{[^}]*\}", path):
            if place not in known:
                raise Malformed(own.at, f"does not describe {place} of its path")
        return path

    def _merged(self, shared: Spot, own: Spot) -> Iterator[Spot]:
        """Those of the path, as far as the operation has none of the same name and place."""
        merged: dict[tuple[str, str], Spot] = {}
        for owner in (shared, own):
            for one in owner.child("parameters").items():
                spot = self._document.followed(one)
                merged[spot.text("name"), spot.text("in")] = spot
        yield from merged.values()

    def _in_path(self, spot: Spot, name: str) -> str:
        schema = self._schema(spot)
        if schema["type"] not in ("string", "integer"):
            raise Malformed(f"{spot.at}/schema", "must be a string or an integer in a path")
        return self._take(
            re.sub(r"[^A-Za-z0-9_]", "_", name), schema, "path", wanted=True, spot=spot
        )

    def _beside(
        self, spot: Spot, name: str, where: Literal["query", "header"], *, wanted: bool
    ) -> None:
        if name in self._query if where == "query" else name.lower() in self._headers:
            return
        if where == "header" and not HEADER.fullmatch(name):
            raise Malformed(f"{spot.at}/name", f"{name[:80]!r} is no header field")
        schema = self._schema(spot)
        of_items = schema["items"]["type"] if schema["type"] == "array" else schema["type"]
        usual = "form" if where == "query" else "simple"
        style = spot.text("style") or usual
        if of_items in ("object", "array") or style != usual:
            raise Malformed(spot.at, f"is too deep for a {where}, or not in its usual style")
        joined = where == "header" or spot.mapping().get("explode") is False
        property_ = self._take(_property(name), schema, where, wanted=wanted, spot=spot)
        self.places[property_] = Place(where, name, joined)

    def _schema(self, spot: Spot) -> dict[str, Any]:
        if spot.mapping().get("schema") is None:
            raise Malformed(spot.at, f"has no schema of its own: {BY_HAND}")
        made = self._schemas.input_of(spot.child("schema"))
        if text := spot.text("description"):
            made["description"] = text[:500]
        return made

    def _body(self, spot: Spot) -> None:
        """The properties of a JSON object beside the others, anything else whole."""
        if spot.value is None:
            return
        content = spot.child("content")
        kind = next((one for one in content.mapping() if _JSON.fullmatch(str(one))), None)
        if kind is None:
            named = ", ".join(map(str, content.mapping())) or "nothing"
            raise Malformed(content.at, f"is {named[:80]}, and no JSON: {BY_HAND}")
        schema = content.child(kind).child("schema")
        made = self._schemas.input_of(schema)
        if made["type"] != "object":
            name = self._take("body", made, "body", wanted=True, spot=schema)
            self.places[name] = Place("body", "")
            return
        for name, one in made["properties"].items():
            wanted = name in made["required"]
            property_ = self._take(_property(name), one, "body", wanted=wanted, spot=schema)
            self.places[property_] = Place("body", name)

    def _take(
        self, name: str, schema: dict[str, Any], where: str, *, wanted: bool, spot: Spot
    ) -> str:
        """Put a property into the input, under a name that no other has."""
        free = name if name not in self.properties else f"{where}_{name}"[:64]
        if free in self.properties or not name:
            raise Malformed(spot.at, f"has a second {name!r} in its {where}: {BY_HAND}")
        self.properties[free] = schema
        if wanted:
            self.required.append(free)
        return free


def _unsendable(spot: Spot, where: str) -> NoReturn:
    raise Malformed(f"{spot.at}/in", f"{where!r} cannot be sent: {BY_HAND}")


def _property(name: str) -> str:
    """A name that the model's service takes for a property."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:64]
