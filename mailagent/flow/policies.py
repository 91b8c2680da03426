"""Which policy holds for an agent now, and which one was that of a version?

Every version is kept: a ledger line that names one can be read years later.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import bindparam, exists, select

from mailagent.agents.tools import TOOLS
from mailagent.agents.trust import DEFAULT, Policy, parse_policy
from mailagent.errors import NotFound
from mailagent.store.tables import http_tools, policies
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["of_agent", "of_workspace", "save", "version"]

_newer = policies.alias()
_NEWEST = select(policies.c.agent_id, policies.c.version, policies.c.cells).where(
    policies.c.agent_id.in_([bindparam("workspace"), bindparam("agent")]),
    ~exists().where(
        _newer.c.workspace_id == policies.c.workspace_id,
        _newer.c.agent_id == policies.c.agent_id,
        _newer.c.version > policies.c.version,
    ),
)
_WORKSPACE = ""


def of_workspace(tx: Transaction) -> Policy:
    """What the workspace has set, over the default."""
    return _over_default(_newest(tx, _WORKSPACE))


def foresee(tx: Transaction, agent_id: str) -> None:
    """Foresee what `of_agent` asks."""
    tx.foresee(_NEWEST, {"workspace": _WORKSPACE, "agent": agent_id})


def of_agent(tx: Transaction, agent_id: str, handle: str) -> Policy:
    """What the agent's people have set, over the workspace's."""
    newest = _newest(tx, agent_id)
    return _current(newest.get(agent_id), f"agent {handle}", _over_default(newest))


def save(
    tx: Transaction, fields: object, *, author: str, agent_id: str | None = None, handle: str = ""
) -> Policy:
    """Keep a new version for an agent or, without one, the workspace. Raises Malformed."""
    tx.lock(f"policies {tx.workspace_id}")
    before = of_workspace(tx) if agent_id is None else of_agent(tx, agent_id, handle)
    made = parse_policy(
        fields,
        name=before.name,
        version=before.version + 1,
        tools=_known_tools(tx, fields),
        base=before.base,
    )
    tx.insert(
        policies,
        {
            "agent_id": agent_id or _WORKSPACE,
            "version": made.version,
            "cells": made.as_json(),
            "author": author,
            "created_at": tx.now,
        },
    )
    return made


def version(tx: Transaction, number: int, agent_id: str | None = None) -> Policy:
    """One version as it was, without what lay under it then. Raises NotFound."""
    row = tx.row(
        select(policies).where(
            policies.c.agent_id == (agent_id or _WORKSPACE), policies.c.version == number
        )
    )
    if row is None:
        raise NotFound(f"there is no version {number} of this policy")
    return _read(row.cells, "agent" if agent_id else "workspace", number, None)


def _known_tools(tx: Transaction, fields: object) -> set[str]:
    """Our tools, those that people described, and whatever is named as one of an MCP server's: what
    those have is known to them only.
    """
    known = set(TOOLS) | {row.name for row in tx.rows(select(http_tools.c.name))}
    rows = fields.values() if isinstance(fields, Mapping) else ()
    cells = [cell for row in rows if isinstance(row, Mapping) for cell in row]
    return known | {str(one)[5:] for one in cells if str(one).startswith("tool:mcp_")}


def _newest(tx: Transaction, agent_id: str) -> Mapping[str, AnyRow]:
    """The newest versions of the workspace's policy and an agent's, by agent."""
    rows = tx.rows(_NEWEST, {"workspace": _WORKSPACE, "agent": agent_id})
    return {row.agent_id: row for row in rows}


def _over_default(newest: Mapping[str, AnyRow]) -> Policy:
    return _current(newest.get(_WORKSPACE), "workspace", DEFAULT)


def _current(row: AnyRow | None, name: str, base: Policy) -> Policy:
    if row is None:
        return Policy(name, 0, base=base)
    return _read(row.cells, name, row.version, base)


def _read(cells: dict[str, dict[str, str]], name: str, number: int, base: Policy | None) -> Policy:
    # A tool that is gone since must not make its policy unreadable.
    spoken = {
        action.removeprefix("tool:")
        for row in cells.values()
        for action in row
        if action.startswith("tool:")
    }
    return parse_policy(cells, name=name, version=number, tools=spoken, base=base)
