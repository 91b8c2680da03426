"""Where does a credential go that an OpenAPI document's `security` asks for?"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from backend.abilities.openapi_document import Document, Spot
from mailagent.errors import Malformed

__all__ = ["check_names", "secured"]


def check_names(document: Document, credentials: Mapping[str, str]) -> None:
    """Raises Malformed for a credential of no scheme."""
    schemes = list(document.root.child("components").child("securitySchemes").mapping())
    for name in credentials:
        if name not in schemes:
            known = ", ".join(schemes) or "none"
            raise Malformed(f"credentials.{name[:80]}", f"is no security scheme: it has {known}")


def secured(
    document: Document, operation: Spot, credentials: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """The header fields and query parameters of the first way in whose credentials are given.

    Raises Malformed when none is, or where a scheme is none of ours.
    """
    owner = operation if "security" in operation.mapping() else document.root
    ways = [list(way.mapping()) for way in owner.child("security").items()]
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    for way in ways:
        if way and all(name in credentials for name in way):
            for name in way:
                _credential(document, name, credentials[name], headers, query)
            return headers, query
    if ways and all(ways):
        names = " or ".join(" and ".join(way) for way in ways)
        raise Malformed(f"{owner.at}/security", f"needs a credential: give one for {names[:200]}")
    return headers, query


def _credential(
    document: Document, name: str, value: str, headers: dict[str, str], query: dict[str, str]
) -> None:
    scheme = document.followed(
        document.root.child("components").child("securitySchemes").child(name)
    )
    if scheme.value is None:
        raise Malformed(scheme.at, "is used and nowhere described")
    match scheme.text("type"), scheme.text("scheme").lower(), scheme.text("in"):
        case "http", "bearer", _:
            headers["Authorization"] = f"Bearer {value}"
        case "http", "basic", _:
            if ":" not in value:
                raise Malformed(f"credentials.{name}", "must be user:password (RFC 7617)")
            headers["Authorization"] = f"Basic {base64.b64encode(value.encode()).decode()}"
        case "apiKey", _, "header":
            headers[scheme.text("name")] = value
        case "apiKey", _, "query":
            query[scheme.text("name")] = value
        case kind, way, where:
            told = " ".join(one for one in (kind, way, where and f"in {where}") if one)
            raise Malformed(
                scheme.at, f"{told!r} is not taken: http bearer or basic, apiKey in header or query"
            )
