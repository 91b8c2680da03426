"""How does a wish become one HTTP request, and what of its answer may a model see?

A property of the input stands in the path (`{name}` in the URL), the query, a header field or the
JSON body, as the tool's places say; without places, what is not in the path goes into the query of
a GET and into the body of any other method. Pure.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self
from urllib.parse import quote, urlencode

from mailagent.errors import Malformed

__all__ = ["HEADER", "OURS", "PATH_PLACE", "HttpRequest", "Place", "Where", "made", "without"]

PATH_PLACE = re.compile(r"\{([A-Za-z0-9_]+)\}")
HEADER = re.compile(r"[A-Za-z0-9-]{1,100}")
OURS = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection"})
"""Header fields, in lower case, that no description sets."""
_MOST_HEADER_CHARACTERS = 4_000
_SHORTEST_SECRET = 6

Where = Literal["query", "header", "body"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where one property of the input goes, and as what."""

    where: Where
    name: str
    """Empty in the body: the property is all of it."""
    joined: bool = False
    """A list is one value with commas, not a value each (OpenAPI `explode: false`)."""

    def as_json(self) -> Mapping[str, Any]:
        """As it is kept."""
        return {"where": self.where, "name": self.name, "joined": self.joined}

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Self:
        """What `as_json` made."""
        return cls(kept["where"], kept["name"], kept["joined"])


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What goes out, before secrets are added."""

    url: str
    headers: Mapping[str, str]
    content: bytes


def made(
    method: str, url: str, wish: Mapping[str, Any], places: Mapping[str, Place] | None
) -> HttpRequest:
    """The request for a checked wish. Raises Malformed for a value that cannot stand in its place.

    `url` holds `{property}` for what goes into the path.
    """
    url, left = _filled(url, wish)
    usual: Where = "query" if method == "GET" else "body"
    query: list[tuple[str, Any]] = []
    headers: dict[str, str] = {}
    body: Any = {} if places is None and usual == "body" else None
    for name, value in left.items():
        place = Place(usual, name) if places is None else places[name]
        match place.where:
            case "query" | "header" if value is None:
                pass
            case "query":
                query += _flat(place, value)
            case "header":
                headers[place.name] = _field(name, value)
            case "body" if place.name:
                body = {**(body or {}), place.name: value}
            case "body":
                body = value
    content = b""
    if body is not None:
        content = json.dumps(body, ensure_ascii=False).encode()
        headers["Content-Type"] = "application/json"
    return HttpRequest(_with_query(url, query), headers, content)


def without(said: str, secrets: Sequence[str]) -> str:
    """An answer that repeats our secrets, without them: the model must not be told by an echo."""
    for value in secrets:
        for part in _parts(value):
            said = said.replace(part, "…") if len(part) >= _SHORTEST_SECRET else said
    return said


def _parts(value: str) -> Sequence[str]:
    """A value, what stands behind its scheme, and the password of Basic (RFC 7617)."""
    scheme, _, rest = value.rpartition(" ")
    if scheme.lower() != "basic":
        return value, rest
    try:
        password = base64.b64decode(rest, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return value, rest
    return value, rest, password, password.partition(":")[2]


def _filled(url: str, wish: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The URL with its places filled, and what is left of the wish."""
    names = PATH_PLACE.findall(url)
    for name in names:
        filled = str(wish[name])
        if filled in (".", "..", ""):
            raise Malformed(name, "is no name that can stand in an address")
        url = url.replace(f"{{{name}}}", quote(filled, safe=""))
    return url, {name: value for name, value in wish.items() if name not in names}


def _flat(place: Place, value: Any) -> list[tuple[str, Any]]:
    values = [_plain(one) for one in (value if isinstance(value, list) else [value])]
    if place.joined:
        return [(place.name, ",".join(map(str, values)))]
    return [(place.name, one) for one in values]


def _field(name: str, value: Any) -> str:
    """A header field's value (RFC 9110 §5.5): one line of printable ASCII."""
    values = value if isinstance(value, list) else [value]
    text = ",".join(str(_plain(one)) for one in values)
    if not text.isprintable() or not text.isascii() or len(text) > _MOST_HEADER_CHARACTERS:
        raise Malformed(name, "must be printable ASCII on one line")
    return text


def _plain(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _with_query(url: str, given: Sequence[tuple[str, Any]]) -> str:
    if not given:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(given)}"
