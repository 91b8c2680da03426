"""May mail leave from an address at a domain of the workspace now, and does mail come in there?

The one place that asks. `reply` asks when it chooses From, `send` at the moment of sending: what
was frozen while all was well waits when the domain has broken since.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from sqlalchemy import ColumnElement, ScalarSelect, case, exists, select, update

from mailagent.store.tables import domains, outbound_mails, outbound_recipients
from mailagent.store.transaction import Transaction

__all__ = ["Sending", "choices", "receives", "region", "release", "sending", "why_it_waits"]

Sending = Literal["may", "waits", "not_yet", "not_yet_and_waits"]
"""`waits`: it was verified and is broken or paused now. `not_yet`: it never was, and agents answer
from their default address meanwhile; `not_yet_and_waits`: the workspace chose that mail waits.
"""

_MAY_SEND = domains.c.sending_verified_at.is_not(None)


def sending(workspace_id: ColumnElement[Any], name: ColumnElement[Any]) -> ScalarSelect[Any]:
    """A column with the `Sending` of a domain; NULL where the workspace has no such domain."""
    chosen = domains.c.settings
    return (
        select(
            case(
                (
                    _MAY_SEND & (domains.c.state != "paused"),
                    case(
                        (domains.c.sending_state.in_(["active", "warming"]), "may"),
                        (chosen["while_pending"].as_string() == "go_on", "may"),
                        else_="waits",
                    ),
                ),
                (_MAY_SEND, "waits"),
                (chosen["until_verified"].as_string() == "wait", "not_yet_and_waits"),
                else_="not_yet",
            )
        )
        .where(
            domains.c.workspace_id == workspace_id,
            domains.c.name == name,
            domains.c.removing_at.is_(None),
        )
        .scalar_subquery()
    )


def choices(workspace_id: ColumnElement[Any], name: ColumnElement[Any]) -> ScalarSelect[Any]:
    """A column with what was chosen for a domain: its `carried_by` names accounts."""
    return (
        select(domains.c.settings)
        .where(domains.c.workspace_id == workspace_id, domains.c.name == name)
        .scalar_subquery()
    )


def region(workspace_id: ColumnElement[Any], name: ColumnElement[Any]) -> ScalarSelect[Any]:
    """A column with the region to which a domain is kept; NULL for one that may go anywhere."""
    return (
        select(domains.c.region)
        .where(domains.c.workspace_id == workspace_id, domains.c.name == name)
        .scalar_subquery()
    )


def receives(workspace_id: ColumnElement[Any], name: ColumnElement[Any]) -> ColumnElement[bool]:
    """A column that says whether mail for the domain comes in here."""
    return exists().where(
        domains.c.workspace_id == workspace_id,
        domains.c.name == name,
        domains.c.receiving_verified_at.is_not(None),
        domains.c.removing_at.is_(None),
    )


def why_it_waits(domain: str, sending: str) -> str:
    """For the recipient's reason and the ledger: what is waited for."""
    match cast("Sending", sending):
        case "waits":
            return f"{domain} is not in order: its mail waits until the domain is verified again"
        case _:
            return f"{domain} is not verified for sending yet: its mail waits until it is"


def release(tx: Transaction, domain: str) -> None:
    """Try at once what has waited for a domain that may send now."""
    due = select(outbound_mails.c.id).where(
        outbound_mails.c.workspace_id == tx.workspace_id,
        outbound_mails.c.state == "queued",
        outbound_mails.c.from_address.ilike(f"%@{domain}"),
    )
    # A lease is another worker's: it sees the domain as it is now by itself.
    tx.execute(
        update(outbound_recipients)
        .where(
            outbound_recipients.c.outbound_id.in_(due),
            outbound_recipients.c.state == "queued",
            outbound_recipients.c.reason.startswith(f"{domain} is not", autoescape=True),
        )
        .values(not_before=tx.now)
    )
    tx.execute(update(outbound_mails).where(outbound_mails.c.id.in_(due)).values(not_before=tx.now))
    tx.wake("send")
