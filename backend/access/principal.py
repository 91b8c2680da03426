"""Who asks? A program with a key, or a person who is signed in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select

from backend.access.keys import ApiKey
from backend.access.permissions import ROLES, expanded
from backend.workspaces.members import Person
from backend.workspaces.service import operator_id
from mailagent.errors import MailagentError
from mailagent.store.tables import memberships
from mailagent.store.transaction import Transaction

__all__ = ["Forbidden", "Principal", "principal_of_key", "principal_of_person"]


_NOT_AN_AGENTS = frozenset({"trust.manage", "member.manage"})
"""Policy, lists and limits, and whose mail has a member's standing."""


class Forbidden(MailagentError):
    """The principal is known and sees the thing, but lacks a permission (HTTP 403)."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, and what they may do where."""

    kind: Literal["key", "person"]
    id: str
    name: str
    """The key's name, or the person's e-mail."""
    actor: str
    """How the ledger names them: `key:<prefix>` or `person:<e-mail>`."""
    grants: Mapping[str, frozenset[str]]
    """Workspace id → single permissions there."""
    operator_workspace_id: str | None = None
    agent_id: str | None = None
    """The agent whose own key this is: it neither sees nor decides what waits of that one's, and
    writes as that one alone, within its policy.
    """

    def demand(self, workspace_id: str, permission: str) -> None:
        """Pass who has the permission. Raises Forbidden: what is missing, who can give it."""
        if permission not in self.grants.get(workspace_id, frozenset()):
            what = "key" if self.kind == "key" else "account"
            raise Forbidden(
                f"this needs the permission {permission}, which your {what} lacks: "
                "an owner of the workspace can give it"
            )

    def demand_person(self, what: str) -> None:
        """Pass whose word is a person's. Raises Forbidden for an agent's own key."""
        if self.agent_id is not None:
            raise Forbidden(f"{what} is not for an agent's own key: use a key of people's")

    def demand_self(self, agent_id: str | None) -> None:
        """Pass an agent's own key for that agent, and everybody else. Raises Forbidden."""
        if self.agent_id is not None and self.agent_id != agent_id:
            raise Forbidden("this is an agent's own key: it writes as that agent alone")

    def may_send(self, workspace_id: str) -> bool:
        """Whether what they write is a person's yes to it, as it is not of an agent's own key."""
        held = self.grants.get(workspace_id, frozenset())
        return self.agent_id is None and "message.send" in held

    def demand_operator(self, permission: str) -> str:
        """Pass who has the permission in the operator's workspace; returns that one's id."""
        where = self.operator_workspace_id
        if where is None or where not in self.grants:
            raise Forbidden(
                f"this needs the permission {permission} in the operator's workspace, "
                "the oldest one: its owners can give it"
            )
        self.demand(where, permission)
        return where

    def demand_all(self, workspace_id: str, permissions: Iterable[str]) -> None:
        """Pass who has all of these: nobody gives what they do not have. Raises Forbidden."""
        for permission in sorted(expanded(permissions)):
            self.demand(workspace_id, permission)


def principal_of_key(tx: Transaction, key: ApiKey) -> Principal:
    """A program: one workspace, the key's permissions."""
    return Principal(
        kind="key",
        id=key.id,
        name=key.name,
        actor=f"key:{key.prefix}",
        grants={key.workspace_id: _granted(key)},
        operator_workspace_id=operator_id(tx),
        agent_id=key.agent_id,
    )


def _granted(key: ApiKey) -> frozenset[str]:
    """What a key may do: an agent's own changes nothing of what it is held by."""
    held = expanded(key.permissions)
    return held if key.agent_id is None else held - _NOT_AN_AGENTS


def principal_of_person(tx: Transaction, person: Person) -> Principal:
    """A person: every workspace they belong to, by their role there (unscoped transaction)."""
    rows = tx.rows(
        select(memberships.c.workspace_id, memberships.c.role).where(
            memberships.c.person_id == person.id
        )
    )
    return Principal(
        kind="person",
        id=person.id,
        name=person.email,
        actor=f"person:{person.email}",
        grants={row.workspace_id: ROLES.get(row.role, frozenset()) for row in rows},
        operator_workspace_id=operator_id(tx),
    )
