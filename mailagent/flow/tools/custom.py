"""Tools that an agent's people describe: one HTTP request each, to an address of theirs.

The description is data: a JSON Schema of what the model gives, an effect, a least standing. The
secrets of the request stand sealed beside it and are added here, where no model sees them; what
comes back is shown without them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args
from urllib.parse import urlencode

from sqlalchemy import bindparam, delete, select, update

from mailagent.agents.tools import TOOLS, Tool, ToolResult, checked_schema, data_block
from mailagent.agents.trust import EFFECTS, Effect, Standing
from mailagent.agents.turn import JsonValue
from mailagent.egress import Egress
from mailagent.errors import Conflict, Malformed, NotFound, TransientFailure
from mailagent.flow import agent_secrets
from mailagent.flow.services import Services
from mailagent.flow.tools.case import Case, Outside, Wish
from mailagent.flow.tools.http_request import HEADER, OURS, PATH_PLACE, Place, made, without
from mailagent.store.tables import http_tools
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import Secrets, new_id

__all__ = [
    "KEPT_FOR_TOOL",
    "NOT_GIVEN",
    "PURPOSE",
    "Credentials",
    "HttpTool",
    "add",
    "caller",
    "credentials_of",
    "list_tools",
    "remove",
    "repeatable",
    "set_header",
    "tools_of",
]

PURPOSE = "tool headers"
"""What a tool's header fields are encrypted for."""
NOT_GIVEN = ""
"""The value of a header field that came by its name alone: such a tool calls nobody."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_MOST_TOOLS = 50
KEPT_FOR_TOOL = "tool:"
"""With what the names of an agent's secrets begin that stand at its tools."""
_LONGEST_WITH_SECRET = 59
"""Of a name under which a secret is kept, too."""
_ANSWER_CHARACTERS = 20_000
_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class HttpTool:
    """One tool as its people see it; of its header fields and secret parameters the names."""

    id: str
    name: str
    description: str
    input_schema: Mapping[str, Any]
    effect: Effect
    least: str
    method: str
    url: str
    repeatable: bool
    headers: tuple[str, ...]
    places: Mapping[str, Place] | None = None
    query_secrets: tuple[str, ...] = ()


def add(
    tx: Transaction,
    secrets: Secrets,
    egress: Egress,
    agent_id: str,
    *,
    name: str,
    description: str,
    input_schema: object,
    effect: str,
    method: str,
    url: str,
    least: str = "stranger",
    repeatable: bool = False,
    headers: Mapping[str, str] | None = None,
    places: Mapping[str, Place] | None = None,
    query_secrets: Mapping[str, str] | None = None,
) -> HttpTool:
    """Give an agent a tool. `{name}` in the URL stands for a property of the input.

    `places` names where each other property goes; `query_secrets` are added to the query of each
    call. Raises Malformed, naming the field; Conflict for a name that is taken, or one tool too
    many.
    """
    if not _NAME.fullmatch(name):
        raise Malformed("name", "must be 1 to 64 of a-z, 0-9 and _, a letter first")
    if name in TOOLS or name == "decide" or name.startswith("mcp_"):
        raise Malformed("name", f"{name} is a tool of our own: choose another name")
    if not 10 <= len(description) <= 2_000:
        raise Malformed("description", "must tell the model in 10 to 2,000 characters what it does")
    schema = checked_schema("input_schema", input_schema)
    if schema["type"] != "object":
        raise Malformed("input_schema.type", "must be object")
    if effect not in EFFECTS:
        raise Malformed("effect", f"must be one of {', '.join(EFFECTS)}")
    if method not in _METHODS:
        raise Malformed("method", f"must be one of {', '.join(_METHODS)}")
    if method == "GET" and effect != "reads":
        raise Malformed("effect", "of GET must be reads (RFC 9110 §9.2.1)")
    standings = {one.word: one for one in Standing}
    if least not in standings:
        raise Malformed("least", f"must be one of {', '.join(standings)}")
    egress.check(PATH_PLACE.sub("x", url))
    _check_places(url, schema)
    _check_secrets(name, headers or {}, query_secrets or {})
    known = [one.name for one in list_tools(tx, secrets, agent_id)]
    if name in known:
        raise Conflict(f"the agent has a tool {name} already: remove it first")
    if len(known) >= _MOST_TOOLS:
        raise Conflict(f"{_MOST_TOOLS} tools of an agent are the most")
    row = {
        "id": new_id("tol"),
        "agent_id": agent_id,
        "name": name,
        "description": description,
        "input_schema": dict(schema),
        "effect": effect,
        "least": least,
        "method": method,
        "url": url,
        "repeatable": repeatable or method in ("GET", "PUT", "DELETE"),
        "headers": secrets.seal(json.dumps(dict(headers or {})).encode(), PURPOSE),
        "places": None if places is None else {at: one.as_json() for at, one in places.items()},
        "created_at": tx.now,
    }
    tx.insert(http_tools, row)
    if query_secrets:
        kept = json.dumps(dict(query_secrets))
        agent_secrets.keep(tx, secrets, agent_id, _secret_name(name), kept)
    return next(one for one in list_tools(tx, secrets, agent_id) if one.name == name)


def list_tools(tx: Transaction, secrets: Secrets, agent_id: str) -> Sequence[HttpTool]:
    """An agent's own tools by name."""
    return [
        HttpTool(
            row.id,
            row.name,
            row.description,
            row.input_schema,
            row.effect,
            row.least,
            row.method,
            row.url,
            row.repeatable,
            tuple(_headers(secrets, row)),
            _places(row),
            tuple(_query_secrets(tx, secrets, agent_id, row.name)),
        )
        for row in _rows(tx, agent_id)
    ]


def set_header(
    tx: Transaction, secrets: Secrets, agent_id: str, name: str, header: str, value: str
) -> HttpTool:
    """Give the value of a header field, or secret parameter of the query, that a tool names.

    Raises NotFound, Malformed.
    """
    row = _row(tx, agent_id, name)
    if row is None:
        raise NotFound(f"the agent has no tool {name[:80]!r}")
    if value == NOT_GIVEN:
        raise Malformed("value", "is empty: give the header field's value")
    headers, query = _headers(secrets, row), _query_secrets(tx, secrets, agent_id, name)
    field = next((one for one in headers if one.lower() == header.lower()), None)
    if field is not None:
        _check_header(field, value)
        sealed = secrets.seal(json.dumps({**headers, field: value}).encode(), PURPOSE)
        tx.execute(update(http_tools).where(http_tools.c.id == row.id).values(headers=sealed))
    elif header in query:
        _check_value(header, value)
        kept = json.dumps({**query, header: value})
        agent_secrets.keep(tx, secrets, agent_id, _secret_name(name), kept)
    else:
        known = ", ".join([*headers, *query]) or "it has none"
        raise NotFound(f"{name} has no header field {header[:80]!r}: {known}")
    return next(one for one in list_tools(tx, secrets, agent_id) if one.name == name)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a tool adds to each call: secrets."""

    headers: Mapping[str, str]
    query: Mapping[str, str]


def credentials_of(tx: Transaction, secrets: Secrets, agent_id: str) -> Mapping[str, Credentials]:
    """What an agent's own tools add to their calls, by tool."""
    return {
        row.name: Credentials(
            _headers(secrets, row), _query_secrets(tx, secrets, agent_id, row.name)
        )
        for row in _rows(tx, agent_id)
    }


def remove(tx: Transaction, agent_id: str, name: str) -> None:
    """Take a tool away. Raises NotFound."""
    gone = tx.execute(
        delete(http_tools).where(http_tools.c.agent_id == agent_id, http_tools.c.name == name)
    )
    if not gone.rowcount:
        raise NotFound(f"the agent has no tool {name[:80]!r}")
    agent_secrets.remove(tx, agent_id, _secret_name(name))


def foresee(tx: Transaction, agent_id: str) -> None:
    """Foresee what `tools_of` asks."""
    tx.foresee(_OF_AGENT, {"agent": agent_id})


def tools_of(tx: Transaction, agent_id: str) -> Sequence[Tool]:
    """An agent's own tools as a model is told of them."""
    return [
        Tool(
            row.name,
            row.description,
            row.input_schema,
            next(one for one in get_args(Effect) if one == row.effect),
            Standing[row.least.upper()],
            f"calls {row.method} {row.url}",
        )
        for row in _rows(tx, agent_id)
    ]


def repeatable(tx: Transaction, agent_id: str, name: str) -> bool:
    """Whether the far side does the same request once (RFC 9110 §9.2.2, or as its people say)."""
    return bool(
        tx.value(
            select(http_tools.c.repeatable).where(
                http_tools.c.agent_id == agent_id, http_tools.c.name == name
            )
        )
    )


def caller(tool: Tool) -> Outside:
    """What does this tool."""

    async def call(services: Services, case: Case, key: str, wish: Wish) -> ToolResult:
        row = await services.store.read(case.workspace_id, _row, case.agent_id, tool.name)
        if row is None:
            raise Malformed(tool.name, "was taken away")
        secret = _headers(services.secrets, row)
        query = await services.store.read(
            case.workspace_id, _query_secrets, services.secrets, case.agent_id, tool.name
        )
        for name, value in (*secret.items(), *query.items()):
            if value == NOT_GIVEN:
                raise Malformed(tool.name, f"nobody has given the value of its header {name}")
        request = made(row.method, row.url, wish, _places(row))
        url = request.url
        if query:
            url = f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"
        answer = await services.egress.call(
            row.method,
            url,
            content=request.content,
            headers={**request.headers, **secret, "Idempotency-Key": key},
            seconds=_SECONDS,
        )
        if answer.status in (429, 502, 503, 504):
            raise TransientFailure(f"it answered {answer.status}")
        said = without(answer.body.decode("utf-8", "replace"), [*secret.values(), *query.values()])
        told: JsonValue = {"status": answer.status, "body": said[:_ANSWER_CHARACTERS]}
        return ToolResult(data_block("tool_result", told), is_error=not 200 <= answer.status < 300)

    return call


def _rows(tx: Transaction, agent_id: str) -> Sequence[AnyRow]:
    return tx.rows(_OF_AGENT, {"agent": agent_id})


_OF_AGENT = (
    select(http_tools)
    .where(http_tools.c.agent_id == bindparam("agent"))
    .order_by(http_tools.c.name)
)


def _row(tx: Transaction, agent_id: str, name: str) -> AnyRow | None:
    of_it = (http_tools.c.agent_id == agent_id) & (http_tools.c.name == name)
    return tx.row(select(http_tools).where(of_it))


def _places(row: AnyRow) -> Mapping[str, Place] | None:
    kept = row.places
    return None if kept is None else {at: Place.of(one) for at, one in kept.items()}


def _headers(secrets: Secrets, row: AnyRow) -> Mapping[str, str]:
    headers: Mapping[str, str] = json.loads(secrets.unseal(row.headers, PURPOSE))
    return headers


def _check_header(field: str, value: str) -> None:
    if not HEADER.fullmatch(field) or field.lower() in OURS:
        raise Malformed("headers", f"{field[:80]!r} is no header field that can be set")
    _check_value(field, value)


def _check_value(field: str, value: str) -> None:
    if not value.isprintable() or not value.isascii() or len(value) > 4_000:
        raise Malformed("headers", f"the value of {field} must be printable ASCII on one line")


def _query_secrets(
    tx: Transaction, secrets: Secrets, agent_id: str, name: str
) -> Mapping[str, str]:
    """Parameters of the query that are secret; those of header fields stand in the tool's row."""
    kept = agent_secrets.read(tx, secrets, agent_id, _secret_name(name))
    found: Mapping[str, str] = json.loads(kept) if kept else {}
    return found


def _secret_name(name: str) -> str:
    return f"{KEPT_FOR_TOOL}{name}"


def _check_secrets(name: str, headers: Mapping[str, str], query: Mapping[str, str]) -> None:
    for field, value in headers.items():
        _check_header(field, value)
    for field, value in query.items():
        _check_value(field, value)
    if query and len(name) > _LONGEST_WITH_SECRET:
        raise Malformed("name", f"must have at most {_LONGEST_WITH_SECRET} characters")


def _check_places(url: str, schema: Mapping[str, Any]) -> None:
    host = url.split("/", 3)[2] if url.count("/") >= 2 else url
    if PATH_PLACE.search(host) or "{" in host:
        raise Malformed("url", "may hold {properties} in its path and query only")
    for place in PATH_PLACE.findall(url):
        of_it = schema.get("properties", {}).get(place)
        if of_it is None or place not in schema.get("required", ()):
            raise Malformed("url", f"{{{place}}} must be a required property of input_schema")
        if of_it["type"] not in ("string", "integer"):
            raise Malformed("url", f"{{{place}}} must be a string or an integer")
