"""Is what is about to leave in this workspace's own name?

Everything on the default domain is signed by one key and aligned relaxed, so to the world one
workspace could pass for another. What keeps tenants apart is this check alone: every mail, whoever
wrote it, passes it at the moment of sending, with the values that the account will be given. It
goes by the workspace's rows as they are now, not by what was decided when the mail was frozen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ScalarSelect, bindparam, exists, select

from mailagent.errors import Malformed
from mailagent.flow import sender_domains
from mailagent.mime import build
from mailagent.outgoing import Outgoing, Recipient
from mailagent.store.tables import (
    account_preferences,
    addresses,
    slug_reservations,
    workspaces,
)
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import Secrets

__all__ = ["own", "refusal", "return_path"]

_VERP_MARK = "b."


def _preferred(whose: str, name: str) -> ScalarSelect[Any]:
    """The accounts that an operator chose for an agent, or a domain, of the workspace."""
    table = account_preferences.c
    of = (
        table.workspace_id == workspaces.c.id,
        table.whose == whose,
        table.name == bindparam(name),
    )
    return select(table.accounts).where(*of).scalar_subquery()


_OWN = select(
    workspaces.c.slug,
    workspaces.c.retired_at,
    _preferred("agent", "agent").label("of_agent"),
    _preferred("domain", "domain").label("of_domain"),
    exists()
    .where(
        addresses.c.workspace_id == workspaces.c.id,
        addresses.c.local_part == bindparam("local"),
        addresses.c.domain == bindparam("domain"),
    )
    .label("address"),
    sender_domains.sending(workspaces.c.id, bindparam("domain")).label("sending"),
    sender_domains.choices(workspaces.c.id, bindparam("domain")).label("domain_settings"),
    sender_domains.region(workspaces.c.id, bindparam("domain")).label("domain_region"),
    exists()
    .where(
        slug_reservations.c.workspace_id == workspaces.c.id,
        slug_reservations.c.slug == bindparam("label"),
        slug_reservations.c.alias_until > bindparam("now"),
    )
    .label("former"),
).where(workspaces.c.id == bindparam("workspace"))


def own(tx: Transaction, row: AnyRow, outgoing: Outgoing) -> AnyRow:
    """What is the transaction's workspace's own of a mail's From, and what is set for it."""
    local, _, domain = outgoing.from_.address.lower().rpartition("@")
    found = tx.row(
        _OWN,
        {
            "workspace": tx.workspace_id,
            "local": local,
            "domain": domain,
            "label": domain.partition(".")[0],
            "agent": row.agent_id,
            "now": tx.now,
        },
    )
    assert found is not None
    return found


def return_path(secrets: Secrets, default_domain: str, recipient_id: str) -> str:
    """The reverse-path of one envelope recipient: opaque, and proof of whose mail it was."""
    return f"{_VERP_MARK}{secrets.verp_token(recipient_id)}@return.{default_domain}"


def refusal(
    found: AnyRow,
    outgoing: Outgoing,
    to: Iterable[Recipient],
    *,
    purpose: str,
    secrets: Secrets,
    default_domain: str,
) -> str | None:
    """Why the mail may not leave in this workspace's name, by what `own` found; None: it may.

    Header From must be an address of the workspace, no further field may speak for another sender,
    and each envelope From must be that recipient's own.
    """
    if found.retired_at is not None:
        return "the workspace is retired"
    by_operator = outgoing.from_.address == f"postmaster@{default_domain}" and purpose == "notice"
    if not by_operator and not _is_own(found, outgoing.from_.address, default_domain):
        return "From is no address of this workspace"
    try:
        build.check(outgoing)
    except Malformed as error:
        return f"it is not as it was frozen: {error}"
    for one in to:
        if not _leads_to(one, secrets, default_domain):
            return f"the envelope sender {one.return_path} is not this mail's own"
    return None


def _is_own(found: AnyRow, address: str, default_domain: str) -> bool:
    local, _, domain = address.lower().rpartition("@")
    if f".{domain}".endswith(f".{default_domain}"):
        # Whatever `domains` says: names below ours are the workspaces' alone.
        now = f"{found.slug}.{default_domain}"
        left = found.former and domain.partition(".")[2] == default_domain
        return (domain == now or left) and (local == "postmaster" or bool(found.address))
    return bool(found.address) and found.sending is not None


def _leads_to(recipient: Recipient, secrets: Secrets, default_domain: str) -> bool:
    if recipient.return_path is None:
        return True
    local, _, domain = recipient.return_path.rpartition("@")
    token = local.removeprefix(_VERP_MARK)
    return domain == f"return.{default_domain}" and secrets.read_verp_token(token) == recipient.id
