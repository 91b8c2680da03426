"""Which permissions exist, what do the wide ones hold, and what may each role do? The one place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mailagent.errors import Malformed

__all__ = ["PERMISSIONS", "ROLES", "checked_permissions", "expanded"]

PERMISSIONS: Mapping[str, str] = {
    "workspace.read": "see the workspace and its settings",
    "workspace.update": "rename the workspace and change its settings",
    "workspace.create": "make and retire workspaces, and change their names in addresses "
    "(in the operator's workspace only)",
    "member.read": "see who belongs to the workspace",
    "member.manage": "add and remove people and change their roles",
    "agent.read": "see agents and their addresses",
    "agent.manage": "make, change and remove agents and aliases",
    "rule.read": "see rules and try them",
    "rule.manage": "make, change, order and remove rules",
    "document.read": "read the agents' documents",
    "document.manage": "add and remove documents",
    "message.read": "read mail that came in",
    "message.send": "write and answer mail as an agent, past its policy (its own key: within it)",
    "mail.purge": "remove mail for good",
    "outbound.read": "see mail that goes out",
    "outbound.manage": "decide about mail that goes out, and about suppressions",
    "trust.read": "see lists, policies and limits",
    "trust.manage": "change lists, policies and limits",
    "approval.read": "see what waits for a person's yes",
    "approval.decide": "approve, change or reject what waits for a person's yes",
    "key.read": "see API keys (never their secrets)",
    "key.manage": "make and revoke API keys",
    "domain.read": "see domains and their records",
    "domain.create": "add domains",
    "domain.verify": "have domains verified",
    "domain.delete": "remove domains",
    "domain.manage": "give domains to agents, and set up their senders and routes",
    "provider.read": "see the accounts that carry mail (in the operator's workspace only)",
    "provider.manage": "add, change and remove those accounts (in the operator's workspace only)",
    "unrouted.read": "read mail for nobody (in the operator's workspace only)",
    "unrouted.manage": "remove mail for nobody (in the operator's workspace only)",
    "edge.hand_over": "hand mail over from an edge (in the operator's workspace only)",
}
"""Every single permission, and in words what it allows."""

_READING = frozenset(name for name in PERMISSIONS if name.endswith(".read"))
_FULL, _READONLY = "root:full", "root:readonly"

ROLES: Mapping[str, frozenset[str]] = {
    "owner": frozenset(PERMISSIONS),
    "manager": _READING
    | {"agent.manage", "rule.manage", "document.manage", "message.send", "outbound.manage"}
    | {"domain.create", "domain.verify", "approval.decide"},
    "viewer": _READING,
}
"""What a member may do, by role."""


def expanded(permissions: Iterable[str]) -> frozenset[str]:
    """The single permissions that these hold; a word of another version holds none."""
    held: set[str] = set()
    for name in permissions:
        if name == _FULL:
            held |= PERMISSIONS.keys()
        elif name == _READONLY:
            held |= _READING
        elif name.endswith(".*"):
            held |= {one for one in PERMISSIONS if one.startswith(name[:-1])}
        elif name in PERMISSIONS:
            held.add(name)
    return frozenset(held)


def checked_permissions(permissions: Iterable[str]) -> tuple[str, ...]:
    """Permissions as a key keeps them: known words, each once. Raises Malformed."""
    wanted = tuple(dict.fromkeys(permissions))
    if not wanted:
        raise Malformed("permissions", f"is empty: name some, or {_FULL} for all")
    for name in wanted:
        if not expanded([name]):
            known = ", ".join([_FULL, _READONLY, *PERMISSIONS])
            raise Malformed(
                "permissions",
                f"{name[:80]!r} is none: use {known}, or all of a kind such as agent.*",
            )
    return wanted
