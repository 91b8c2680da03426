"""Which tools does an OpenAPI document describe, and what does each call need?

An operation becomes a tool: its parameters and its JSON body are one input, each property with its
place in the request. GET reads, any other method changes, unless its people say otherwise.
Credentials stand beside the description and are put where `securitySchemes` says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

from backend.abilities.openapi_document import Document, Spot, TooLarge
from backend.abilities.openapi_input import Inputs
from backend.abilities.openapi_schema import Schemas
from backend.abilities.openapi_security import check_names, secured
from mailagent.errors import Malformed
from mailagent.flow.tools.http_request import Place

__all__ = ["Described", "Operation", "Wishes", "operations", "tools_of", "trial_of"]

MOST_OPERATIONS = 1_000
_METHODS = ("get", "put", "post", "patch", "delete")
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
_LONGEST_NAME = 59
_LONGEST_DESCRIPTION = 2_000


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation as it may be chosen."""

    id: str
    """Its `operationId`, or its method and path where it has none."""
    name: str
    """Of the tool."""
    method: str
    path: str
    summary: str
    spot: Spot
    shared: Spot
    """Of its path, what all its operations have."""


@dataclass(frozen=True, slots=True)
class Described:
    """A tool, as `custom.add` takes it; `left_out` tells what of the operation it does not have."""

    name: str
    description: str
    input_schema: Mapping[str, Any]
    effect: str
    method: str
    url: str
    places: Mapping[str, Place]
    headers: Mapping[str, str] = field(repr=False)
    query_secrets: Mapping[str, str] = field(repr=False)
    left_out: Sequence[str]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What its people want of a document."""

    operations: Sequence[str]
    """By id, tool name or `GET /path`; `*` is all."""
    base_url: str = ""
    """Empty: the document's own first server."""
    prefix: str = ""
    """Before each tool's name."""
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By the name of their security scheme; of Basic, `user:password`."""
    effects: Mapping[str, str] = field(default_factory=dict)
    """Of operations that do not read by GET and change by any other method."""


def tools_of(document: Document, wishes: Wishes) -> list[Described]:
    """The tools that the wanted operations become, all or none.

    Raises Malformed, naming the JSON Pointer or the wish, and the mend.
    """
    found = operations(document, prefix=wishes.prefix)
    taken = _chosen(found, wishes.operations)
    check_names(document, wishes.credentials)
    effects: dict[str, str] = {}
    for name, effect in wishes.effects.items():
        effects |= {one.id: effect for one in _chosen(found, [name])}
    made = [_described(document, one, wishes, effects.get(one.id)) for one in taken]
    names = [one.name for one in made]
    for name in names:
        if names.count(name) > 1:
            both = " and ".join(one.spot.at for one in taken if one.name == name)
            raise Malformed("operations", f"{both} would both be the tool {name}: choose one")
    return made


def trial_of(document: Document, operation: Operation) -> tuple[str, Sequence[str]]:
    """Why an operation cannot be a tool (empty when it can), and what would be left out."""
    schemas = Schemas(document)
    inputs = Inputs(schemas, document)
    try:
        inputs.take(operation.path, operation.shared, operation.spot)
    except TooLarge:
        raise
    except Malformed as error:
        return str(error), ()
    return "", schemas.left_out


def operations(document: Document, *, prefix: str = "") -> list[Operation]:
    """All operations of a document. Raises Malformed."""
    found: list[Operation] = []
    paths = document.root.child("paths")
    for path in paths.mapping():
        shared = document.followed(paths.child(path))
        for method in _METHODS:
            spot = shared.child(method)
            if spot.value is None:
                continue
            if len(found) >= MOST_OPERATIONS:
                raise TooLarge("#/paths", f"holds more than {MOST_OPERATIONS:,} operations")
            id_ = spot.text("operationId") or f"{method.upper()} {path}"
            summary = spot.text("summary") or spot.text("description")
            name = _name(prefix + id_)
            found.append(Operation(id_, name, method.upper(), path, summary, spot, shared))
    if not found:
        raise Malformed("#/paths", "holds no operation that can be a tool")
    return found


def _chosen(found: Sequence[Operation], wanted: Sequence[str]) -> list[Operation]:
    """Those that are named by id, tool name or `GET /path`; `*` names all. Raises Malformed."""
    if "*" in wanted:
        return list(found)
    taken = []
    for name in dict.fromkeys(wanted):
        fitting = [o for o in found if name in (o.id, o.name, f"{o.method} {o.path}")]
        if not fitting:
            known = ", ".join(one.id for one in found[:20])
            raise Malformed("operations", f"{name[:80]!r} is none of the document: it has {known}")
        if len(fitting) > 1:
            both = " and ".join(one.spot.at for one in fitting[:2])
            raise Malformed("operations", f"{name!r} is {both}: name one by its method and path")
        taken += fitting
    return taken


def _described(
    document: Document, operation: Operation, wishes: Wishes, effect: str | None
) -> Described:
    headers, query_secrets = secured(document, operation.spot, wishes.credentials)
    schemas = Schemas(document)
    inputs = Inputs(schemas, document, headers=headers, query=query_secrets)
    path = inputs.take(operation.path, operation.shared, operation.spot)
    words = [operation.spot.text("summary"), operation.spot.text("description")]
    told = ". ".join(dict.fromkeys(one.strip().rstrip(".") for one in words if one.strip()))
    description = f"{told or operation.id} ({operation.method} {operation.path})"
    return Described(
        name=operation.name,
        description=description[:_LONGEST_DESCRIPTION],
        input_schema={
            "type": "object",
            "properties": inputs.properties,
            "required": inputs.required,
            "additionalProperties": False,
        },
        effect=effect or ("reads" if operation.method == "GET" else "changes"),
        method=operation.method,
        url=_server(operation, document, wishes.base_url) + path,
        places=inputs.places,
        headers=headers,
        query_secrets=query_secrets,
        left_out=schemas.left_out,
    )


def _name(text: str) -> str:
    words = [one for one in _WORD.split(text) if one]
    name = "_".join(words).lower()[:_LONGEST_NAME].strip("_")
    return name if name[:1].isalpha() else f"call_{name}"[:_LONGEST_NAME]


def _server(operation: Operation, document: Document, base_url: str) -> str:
    if base_url:
        return base_url.rstrip("/")
    for owner in (operation.spot, operation.shared, document.root):
        for server in owner.child("servers").items():
            url = server.text("url")
            variables = server.child("variables")
            for name in variables.mapping():
                url = url.replace(f"{{{name}}}", variables.child(name).text("default"))
            if not urlsplit(url).scheme:
                raise Malformed(
                    f"{server.at}/url", f"{url[:80]!r} is relative: say where it is by the base URL"
                )
            return urljoin(url, urlsplit(url).path).rstrip("/")
    raise Malformed("#/servers", "names no address: say where it is by the base URL")
