"""What of an agent's file leads out of it: its aliases, MCP servers, own tools, and addresses?

A file names credentials and holds none. What it asks for that is not kept here is told to whoever
imports it, as the commands that give it; until then a tool that lacks one calls nobody.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from backend.abilities import service as abilities
from backend.abilities.service import Surroundings
from backend.agents import service
from backend.agents.agent_file import (
    AgentFile,
    HttpToolPart,
    MalformedFile,
    McpServerPart,
    PlacePart,
)
from backend.agents.aliases import add_alias, own_domains, remove_alias
from backend.agents.service import Agent
from mailagent.errors import Conflict, Malformed
from mailagent.flow import agent_secrets
from mailagent.flow.tools import custom
from mailagent.flow.tools.http_request import Place
from mailagent.store.tables import agents
from mailagent.store.transaction import Transaction

__all__ = ["needs", "parts", "write"]

_URLS = ("webhook_url", "task_url")
_NOTHING = custom.Credentials({}, {})


def parts(tx: Transaction, around: Surroundings, agent: Agent) -> dict[str, Any]:
    """These parts of an agent's file; None of what is not set."""
    kept: Mapping[str, Any] = tx.value(select(agents.c.settings).where(agents.c.id == agent.id))
    servers = [McpServerPart(**one) for one in kept.get("mcp_servers") or ()]
    tools = [_part(one) for one in custom.list_tools(tx, around.secrets, agent.id)]
    return {
        "aliases": list(_aliases(agent)) or None,
        "mcp_servers": servers or None,
        "http_tools": tools or None,
        **{name: kept.get(name) for name in _URLS},
        "secrets": list(_secrets(tx, agent.id)) or None,
    }


def write(
    tx: Transaction, default_domain: str, around: Surroundings, agent_id: str, file: AgentFile
) -> None:
    """Give an agent these parts of a file, each list as a whole. Raises MalformedFile."""
    changes: dict[str, Any] = {
        name: getattr(file, name) or None for name in _URLS if name in file.model_fields_set
    }
    if file.mcp_servers is not None:
        changes["mcp_servers"] = [
            one.model_dump(exclude_defaults=True) for one in file.mcp_servers
        ] or None
    if changes:
        abilities.change(tx, around, agent_id, changes)
    if file.http_tools is not None:
        _write_tools(tx, around, agent_id, file.http_tools)
    if file.aliases is not None:
        _write_aliases(tx, default_domain, agent_id, file.aliases)


def needs(
    tx: Transaction, around: Surroundings, agent: Agent | None, file: AgentFile, handle: str
) -> tuple[str, ...]:
    """The commands that give what the file names and nobody has given this agent. Quoted: a file
    may be a stranger's.
    """
    known = set(_secrets(tx, agent.id)) if agent is not None else set()
    given = _credentials(tx, around, agent.id) if agent is not None else {}
    found = [
        f"mailagent tool secret {handle} {shlex.quote(name)}"
        for name in file.secrets or ()
        if name not in known
    ]
    for tool in file.http_tools or ():
        of_it = given.get(tool.name, _NOTHING)
        lacking = [name for name in tool.headers if not of_it.headers.get(name)]
        lacking += [name for name in tool.query_secrets if not of_it.query.get(name)]
        found += [
            f"mailagent tool header {handle} {tool.name} {shlex.quote(name)}" for name in lacking
        ]
    return tuple(found)


def _part(tool: custom.HttpTool) -> HttpToolPart:
    told = {
        name: getattr(tool, name)
        for name in HttpToolPart.model_fields
        if name not in ("headers", "input_schema", "places", "query_secrets")
    }
    places = tool.places
    return HttpToolPart(
        **told,
        input_schema=dict(tool.input_schema),
        headers=list(tool.headers),
        places=None if places is None else {at: _place(one) for at, one in places.items()},
        query_secrets=list(tool.query_secrets),
    )


def _place(place: Place) -> PlacePart:
    return PlacePart(where=place.where, name=place.name, joined=place.joined)


def _secrets(tx: Transaction, agent_id: str) -> Iterator[str]:
    """The names of the secrets that people gave by name: those of a tool stand at the tool."""
    kept = agent_secrets.names(tx, agent_id)
    return (one for one in kept if not one.startswith(custom.KEPT_FOR_TOOL))


def _aliases(agent: Agent) -> Iterator[str]:
    """Those in the workspace's own domain by their name alone, so that they go anywhere."""
    home = agent.address.partition("@")[2]
    for one in agent.addresses:
        if one.alias:
            yield one.address.removesuffix(f"@{home}")


def _credentials(
    tx: Transaction, around: Surroundings, agent_id: str
) -> Mapping[str, custom.Credentials]:
    return custom.credentials_of(tx, around.secrets, agent_id)


def _write_tools(
    tx: Transaction, around: Surroundings, agent_id: str, wanted: Sequence[HttpToolPart]
) -> None:
    kept = _credentials(tx, around, agent_id)
    for name in kept:
        custom.remove(tx, agent_id, name)
    for number, one in enumerate(wanted):
        given = kept.get(one.name, _NOTHING)
        described = one.model_dump(exclude={"headers", "places", "query_secrets"})
        described["headers"] = {at: given.headers.get(at, custom.NOT_GIVEN) for at in one.headers}
        described["query_secrets"] = {
            at: given.query.get(at, custom.NOT_GIVEN) for at in one.query_secrets
        }
        if one.places is not None:
            described["places"] = {
                at: Place(place.where, place.name, place.joined) for at, place in one.places.items()
            }
        try:
            abilities.add_tool(tx, around, agent_id, described)
        except Malformed as error:
            field = f"http_tools[{number}].{error.field}"
            raise MalformedFile([(field, error.problem)]) from error


def _write_aliases(
    tx: Transaction, default_domain: str, agent_id: str, wanted: Sequence[str]
) -> None:
    home = own_domains(tx, default_domain)[0]
    whole = [one if "@" in one else f"{one}@{home}" for one in wanted]
    now = {one.address for one in service.get(tx, agent_id).addresses if one.alias}
    for address in now.difference(whole):
        remove_alias(tx, agent_id, address)
    for number, address in enumerate(whole):
        if address in now:
            continue
        try:
            add_alias(tx, default_domain, agent_id, address)
        except (Malformed, Conflict) as error:
            problem = error.problem if isinstance(error, Malformed) else str(error)
            raise MalformedFile([(f"aliases[{number}]", problem)]) from error
