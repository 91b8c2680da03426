"""Which model and tools does an agent have, and at which addresses?

Settings stand with the agent; secrets stand sealed and are shown once, when they are made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update

from backend.abilities.openapi import Described
from backend.agents import service as agents
from mailagent.agents import prices
from mailagent.agents.free_time import parse_hours
from mailagent.agents.mcp_servers import parse_servers
from mailagent.agents.signing import checked_secret, new_signing_secret
from mailagent.agents.tools import TOOLS
from mailagent.egress import Egress
from mailagent.errors import Malformed, Misconfigured, NotFound
from mailagent.flow import agent_secrets
from mailagent.flow.services import Services
from mailagent.flow.tools import custom
from mailagent.flow.tools.meetings import MOST_CALENDARS
from mailagent.flow.tools.opening import tools_of
from mailagent.store.tables import agents as agent_rows
from mailagent.store.transaction import Transaction
from mailagent.tokens import Secrets

__all__ = [
    "Abilities",
    "AbleTool",
    "ImportedTool",
    "Surroundings",
    "add_tool",
    "change",
    "get",
    "import_tools",
    "keep_secret",
    "list_http_tools",
    "remove_secret",
    "remove_tool",
    "set_header",
    "surroundings",
]

_MOST_QUESTIONS = 50
_MOST_HISTORY = 500_000
_SIGNING = ("webhook", "tasks")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What decides whether an address may be saved, and seals what is secret."""

    secrets: Secrets
    egress: Egress
    mcp_listed: Sequence[str] = ()
    """Names of the operator's MCP servers."""


def surroundings(services: Services) -> Surroundings:
    """Those of a running installation."""
    return Surroundings(services.secrets, services.egress, tuple(services.mcp_listing))


@dataclass(frozen=True, slots=True)
class AbleTool:
    """A tool that an agent has."""

    name: str
    effect: str
    least: str
    touches: str


@dataclass(frozen=True, slots=True)
class Abilities:
    """What is set for one agent; None: as the installation has it."""

    agent: str
    model: str | None
    price: str | None
    most_questions: int | None
    history_tokens: int | None
    webhook_url: str | None
    task_url: str | None
    calendar_hours: Mapping[str, Any] | None
    mcp_servers: Sequence[Mapping[str, Any]]
    tools: Sequence[AbleTool]
    """Our own and its people's; those of MCP servers are asked for before a turn."""
    secrets: Sequence[str]
    """Names only."""


@dataclass(frozen=True, slots=True)
class ImportedTool:
    """A tool that came from an OpenAPI document."""

    tool: custom.HttpTool
    left_out: Sequence[str]
    """What of its operation it does not have, and why."""


def get(tx: Transaction, reference: str) -> Abilities:
    """An agent's abilities. Raises NotFound."""
    agent = agents.get(tx, reference)
    settings = _settings(tx, agent.id)
    return Abilities(
        agent=agent.handle,
        model=settings.get("model"),
        price=settings.get("price"),
        most_questions=settings.get("most_questions"),
        history_tokens=settings.get("history_tokens"),
        webhook_url=settings.get("webhook_url"),
        task_url=settings.get("task_url"),
        calendar_hours=settings.get("calendar_hours"),
        mcp_servers=settings.get("mcp_servers") or [],
        tools=[
            AbleTool(tool.name, tool.effect, tool.least.word, tool.touches)
            for tool in tools_of(tx, agent.id, settings).values()
        ],
        secrets=agent_secrets.names(tx, agent.id),
    )


def change(
    tx: Transaction, around: Surroundings, reference: str, changes: Mapping[str, Any]
) -> Abilities:
    """Change what `changes` names; None takes it away. Raises NotFound, Malformed."""
    tx.lock(f"agents {tx.workspace_id}")
    agent = agents.get(tx, reference)
    settings = _settings(tx, agent.id)
    for name, value in changes.items():
        if name not in _CHECKS:
            raise Malformed(name[:80], f"cannot be changed: change one of {', '.join(_CHECKS)}")
        settings[name] = None if value is None else _CHECKS[name](around, name, value)
    kept = {name: value for name, value in settings.items() if value is not None}
    tx.execute(update(agent_rows).where(agent_rows.c.id == agent.id).values(settings=kept))
    return get(tx, agent.id)


def keep_secret(
    tx: Transaction, around: Surroundings, reference: str, name: str, value: str | None
) -> str:
    """Keep a secret of an agent and return it; None makes one, for those that sign.

    Raises NotFound, Malformed.
    """
    agent = agents.get(tx, reference)
    mcp_name = name.removeprefix("mcp:")
    servers = [one["name"] for one in _settings(tx, agent.id).get("mcp_servers") or []]
    if name in _SIGNING:
        value = new_signing_secret() if value is None else checked_secret("value", value)
    elif value is None:
        raise Malformed("value", "must be given: only signing secrets are made here")
    elif name == "calendars":
        value = json.dumps(_feeds(around, value))
    elif not (name.startswith("mcp:") and mcp_name in servers):
        known = ", ".join((*_SIGNING, "calendars", *(f"mcp:{one}" for one in servers)))
        raise Malformed("name", f"{name[:80]!r} is no secret of an agent: use one of {known}")
    elif not value.isprintable() or not value.isascii() or not 1 <= len(value) <= 4_000:
        raise Malformed("value", "must be printable ASCII on one line")
    agent_secrets.keep(tx, around.secrets, agent.id, name, value)
    return value


def remove_secret(tx: Transaction, reference: str, name: str) -> None:
    """Forget a secret. Raises NotFound."""
    if not agent_secrets.remove(tx, agents.get(tx, reference).id, name):
        raise NotFound(f"the agent has no secret {name[:80]!r}")


def list_http_tools(
    tx: Transaction, around: Surroundings, reference: str
) -> Sequence[custom.HttpTool]:
    """The tools that an agent's people described. Raises NotFound."""
    return custom.list_tools(tx, around.secrets, agents.get(tx, reference).id)


def add_tool(
    tx: Transaction, around: Surroundings, reference: str, described: Mapping[str, Any]
) -> custom.HttpTool:
    """Give an agent a tool that calls an address. Raises NotFound, Malformed, Conflict."""
    agent = agents.get(tx, reference)
    return custom.add(tx, around.secrets, around.egress, agent.id, **described)


def import_tools(
    tx: Transaction,
    around: Surroundings,
    reference: str,
    described: Sequence[Described],
    least: str,
) -> Sequence[ImportedTool]:
    """Give an agent the tools of an OpenAPI document, all or none.

    Raises NotFound, Malformed, Conflict.
    """
    agent = agents.get(tx, reference)
    return [
        ImportedTool(
            custom.add(
                tx,
                around.secrets,
                around.egress,
                agent.id,
                name=one.name,
                description=one.description,
                input_schema=one.input_schema,
                effect=one.effect,
                method=one.method,
                url=one.url,
                least=least,
                headers=one.headers,
                places=one.places,
                query_secrets=one.query_secrets,
            ),
            one.left_out,
        )
        for one in described
    ]


def remove_tool(tx: Transaction, reference: str, name: str) -> None:
    """Take such a tool away. Raises NotFound."""
    custom.remove(tx, agents.get(tx, reference).id, name)


def set_header(
    tx: Transaction, around: Surroundings, reference: str, name: str, header: str, value: str
) -> custom.HttpTool:
    """Give the value of a header field of a tool's. Raises NotFound, Malformed."""
    agent = agents.get(tx, reference)
    return custom.set_header(tx, around.secrets, agent.id, name, header, value)


def _settings(tx: Transaction, agent_id: str) -> dict[str, Any]:
    kept: Mapping[str, Any] = tx.value(
        select(agent_rows.c.settings).where(agent_rows.c.id == agent_id)
    )
    return dict(kept)


def _model(_: Surroundings, name: str, value: Any) -> str:
    text = _text(name, value)
    if not text.isprintable() or " " in text or not 1 <= len(text) <= 100:
        raise Malformed(name, "must be a model's name")
    return text


def _price(_: Surroundings, name: str, value: Any) -> str:
    try:
        prices.parse(_text(name, value))
    except Misconfigured as error:
        raise Malformed(name, error.problem) from error
    return str(value)


def _number(most: int) -> Callable[[Surroundings, str, Any], int]:
    def check(_: Surroundings, name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise Malformed(name, f"must be a whole number from 1 to {most:,}")
        return value

    return check


def _tools(_: Surroundings, name: str, value: Any) -> list[str]:
    if not isinstance(value, list):
        raise Malformed(name, "must be a list of names")
    for one in value:
        if one not in TOOLS:
            raise Malformed(name, f"{one!r} is no tool of ours: choose of {', '.join(TOOLS)}")
    return list(dict.fromkeys(value))


def _url(around: Surroundings, name: str, value: Any) -> str:
    around.egress.check(_text(name, value), name=name)
    return str(value)


def _hours(_: Surroundings, name: str, value: Any) -> Mapping[str, Any]:
    parse_hours(name, value)
    return dict(value)


def _servers(around: Surroundings, name: str, value: Any) -> list[Mapping[str, Any]]:
    parse_servers(name, value, listed=around.mcp_listed, egress=around.egress)
    return [dict(one) for one in value]


def _feeds(around: Surroundings, value: str) -> list[str]:
    feeds = value.split()
    if not 1 <= len(feeds) <= MOST_CALENDARS:
        raise Malformed("value", f"must be 1 to {MOST_CALENDARS} addresses of ICS feeds")
    for feed in feeds:
        around.egress.check(feed, name="value")
    return feeds


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise Malformed(name, "must be text")
    return value


_CHECKS: Mapping[str, Callable[[Surroundings, str, Any], Any]] = {
    "model": _model,
    "price": _price,
    "most_questions": _number(_MOST_QUESTIONS),
    "history_tokens": _number(_MOST_HISTORY),
    "tools": _tools,
    "webhook_url": _url,
    "task_url": _url,
    "calendar_hours": _hours,
    "mcp_servers": _servers,
}
